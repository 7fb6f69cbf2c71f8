"""Headrace: sensor readings from device to lake to answer."""

__version__ = "0.1.0"
