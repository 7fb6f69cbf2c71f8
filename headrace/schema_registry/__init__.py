"""The schema registry: contracts in, schema ids out."""
