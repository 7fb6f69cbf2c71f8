"""Derived streams: rows of another contract, made of the readings of a stream by a function of a person's own."""
