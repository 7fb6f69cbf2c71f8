"""The lake: what lies in the object store, and how it is read."""
