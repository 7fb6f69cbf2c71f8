"""Reads a sample of what a device sends: one JSON object, an array of objects, or one object a line."""

from collections import Counter
from typing import Any

import orjson

from headrace.errors import ConfigError

MAX_CHARACTERS = 16 * 1024 * 1024


def read_sample(text: str, where: str) -> list[dict[str, Any]]:
    """The readings in `text`, at least one. ConfigError, beginning with `where`, when there is none."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{where}: too large for a sample. A few hundred readings are plenty: try head -n 500")
    if not text.strip():
        raise ConfigError(f"{where}: empty. Put in one JSON message as your device sends it")
    try:
        found = orjson.loads(text)
    except ValueError as e:
        return _lines(text, where, e)
    readings = found if isinstance(found, list) else [found]
    if not readings or not all(isinstance(r, dict) for r in readings):
        raise ConfigError(f"{where}: a JSON object is expected, or an array of objects, not {_what(found)}")
    return readings


def _lines(text: str, where: str, whole: ValueError) -> list[dict[str, Any]]:
    readings: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
        except ValueError as e:
            if not readings:  # not an object a line either: say what is wrong with the whole
                raise ConfigError(f"{where}: not JSON: {whole}") from None
            raise ConfigError(f"{where}, line {number}: not JSON: {e}") from None
        if not isinstance(found, dict):
            raise ConfigError(f"{where}, line {number}: an object is expected, not {_what(found)}")
        readings.append(found)
    return readings


def columns_of(readings: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The values of each key, nulls left out; keys in the order in which they first occur."""
    out: dict[str, list[Any]] = {}
    for reading in readings:
        for key, value in reading.items():
            values = out.setdefault(key, [])
            if value is not None:
                values.append(value)
    return out


def kinds_of(values: list[Any]) -> Counter[str]:
    """How many of the values are of which JSON kind: number, whole, text, boolean, object, list."""
    return Counter(_KINDS[type(v)] for v in values)


_KINDS = {int: "whole", float: "number", str: "text", bool: "boolean", dict: "object", list: "list"}


def _what(value: object) -> str:
    if isinstance(value, list):
        return "an array of something else" if value else "an empty array"
    return {"whole": "a number", "number": "a number", "text": "text", "boolean": "a boolean"}.get(
        _KINDS.get(type(value), ""), "null"
    )
