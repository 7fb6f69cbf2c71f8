"""Derived streams: rows made of the readings of a stream, by a function of a person's own; and those of files."""
