"""Calls to hub, the registry of devices."""
