"""From the bytes of a payload to readings: one folder or file a format."""
