"""JSON payloads: an object, or an array of objects."""
