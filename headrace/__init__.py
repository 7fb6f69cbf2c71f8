"""Headrace: sensor readings from device to lake to answer. `query()` and `resample()` are the notebook's doors."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.lake.resample import resample
    from headrace.lake.sql import query

__version__ = "0.1.0"
__all__ = ["__version__", "query", "resample"]


def __getattr__(name: str) -> Any:
    """Import a door when it is used: a command or a service that does not use it starts sooner."""
    if name == "query":
        from headrace.lake.sql import query

        return query
    if name == "resample":
        from headrace.lake.resample import resample

        return resample
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
