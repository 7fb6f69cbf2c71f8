"""What people and orchestrators do with an installation: provision it, test it, look into it."""
