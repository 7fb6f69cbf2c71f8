"""Files of readings to rows of the lake: each row of a file is stored once, or it is said why not."""
