"""What a reading means: contracts, their rules, and where they are found."""
