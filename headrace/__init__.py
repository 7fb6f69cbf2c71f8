"""Headrace: sensor readings from device to lake to answer. `headrace.query()` is the notebook's door."""

from headrace.lake.sql import query

__version__ = "0.1.0"
__all__ = ["__version__", "query"]
