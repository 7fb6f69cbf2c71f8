"""The steps from an empty database to hub.tables, in order."""
