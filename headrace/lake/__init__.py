"""The lake: what is in the object store, and how it is read."""
