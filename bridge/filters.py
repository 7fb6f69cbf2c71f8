"""MQTT filters, which the configuration's checks know too."""

from headrace.filters import Filter, covers, overlap, parse

__all__ = ["Filter", "covers", "overlap", "parse"]
