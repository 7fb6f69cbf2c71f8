"""What the commands do, apart from the command line itself."""
