"""User transforms: a person's own function on the rows of a stream. Read, run and checked here, without any I/O."""
