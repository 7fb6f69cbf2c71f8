"""Headrace: sensor readings from device to lake to answer. `query()` and `resample()` are the notebook's doors."""

from headrace.lake.resample import resample
from headrace.lake.sql import query

__version__ = "0.1.0"
__all__ = ["__version__", "query", "resample"]
