"""Reads what a contract writes for an attribute: numbers and choices, with an error that names the place."""

import math
from collections.abc import Mapping
from typing import Any

from headrace.contracts.avro import Node
from headrace.errors import ConfigError

Raw = Mapping[str, Any]  # a field as the .avsc has it


def number(key: str, raw: Raw, place: str) -> float | None:
    """The finite number under `key`; None when there is none."""
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{place}: {key} must be a number, not {value!r:.60}")
    return value


def choice(key: str, choices: tuple[str, ...], raw: Raw, place: str) -> Any:
    """The one of `choices` under `key`; None when there is none."""
    value = raw.get(key)
    if value is not None and value not in choices:
        raise ConfigError(f"{place}: {key} is {value!r:.60}; it must be one of {', '.join(choices)}")
    return value


def number_kind(node: Node) -> str:
    """The type of the field's values; of an array, of its items."""
    return node.items.kind if node.items is not None else node.kind


def is_time(node: Node) -> bool:
    """Whether the field is a timestamp."""
    return (node.logical or "").startswith("timestamp-")
