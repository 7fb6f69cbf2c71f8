"""Avro datums of one schema as a table, and back."""
