"""Physical models of what sensors would measure. Each is a generator of readings, the same for the same seed."""
