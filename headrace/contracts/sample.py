"""Reads a sample of what a device sends: one JSON object, an array of objects, or one object a line."""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.errors import ConfigError

MAX_BYTES = 16 * 1024 * 1024
# Outside of texts: numbers that JSON does not have, as C's printf and Python write them.
_BARE = re.compile(r'"(?:[^"\\]|\\.)*"|[-+]?\b(?:nan|inf|infinity)\b', re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Sample:
    """Readings, and what was odd about their bytes: in words, for a person. `lines`: one reading a line."""

    readings: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()
    lines: bool = False


def read_sample(data: bytes, where: str) -> Sample:
    """The readings in `data`, at least one. ConfigError, beginning with `where`, when there is none."""
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{where}: too large for a sample. A few hundred readings are plenty: try head -n 500")
    notes: list[str] = []
    try:
        text = data.decode("utf-8-sig").rstrip("\0 \t\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: not UTF-8 text. A sample is JSON") from None
    if not text.strip():
        raise ConfigError(f"{where}: empty. Put in one JSON message as your device sends it")
    plain = _BARE.sub(lambda m: m[0] if m[0].startswith('"') else "null", text)
    if plain != text:
        notes.append("nan and inf are no JSON: they are taken as null")
    try:
        found = _parse(plain)
    except ValueError as e:
        return Sample(tuple(_lines(plain, where, e)), tuple(notes), lines=True)
    readings = found if isinstance(found, list) else [found]
    if not readings or not all(isinstance(r, dict) for r in readings):
        raise ConfigError(
            f"{where}: a JSON object is expected, or an array of objects, not {_what(found)}. For one plain value a "
            "topic give a sample with topics, as mosquitto_sub -v prints it, and write {field} in --topic"
        )
    return Sample(tuple(readings), tuple(notes))


def together(samples: Sequence[Sample]) -> Sample:
    """All readings of several samples."""
    notes = dict.fromkeys(note for s in samples for note in s.notes)
    return Sample(tuple(r for s in samples for r in s.readings), tuple(notes), lines=any(s.lines for s in samples))


def _parse(text: str) -> Any:
    """A JSON value, its whole numbers with all their digits. ValueError, also for what is nested too deeply."""
    try:
        found = json.loads(text, parse_float=_float, parse_constant=_no_constant)
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("a text has half of a character (a lone surrogate)") from None
    return found


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text:.40} is beyond those of 64 bits")
    return number


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")  # `_BARE` has replaced them all


def _lines(text: str, where: str, whole: ValueError) -> list[dict[str, Any]]:
    readings: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = _parse(line)
        except ValueError as e:
            if not readings:  # not an object a line either: say what is wrong with the whole
                raise ConfigError(f"{where}: not JSON: {whole}") from None
            raise ConfigError(f"{where}, line {number}: not JSON: {e}") from None
        if not isinstance(found, dict):
            raise ConfigError(f"{where}, line {number}: an object is expected, not {_what(found)}")
        readings.append(found)
    return readings


def columns_of(readings: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """The values of each key, nulls left out; keys in the order in which they first occur."""
    out: dict[str, list[Any]] = {}
    for reading in readings:
        for key, value in reading.items():
            values = out.setdefault(key, [])
            if value is not None:
                values.append(value)
    return out


def kinds_of(values: Sequence[Any]) -> Counter[str]:
    """How many of the values are of which JSON kind: number, whole, text, boolean, object, list, null."""
    return Counter(_KINDS.get(type(v), "null") for v in values)


_KINDS = {int: "whole", float: "number", str: "text", bool: "boolean", dict: "object", list: "list"}


def _what(value: object) -> str:
    if isinstance(value, list):
        return "an array of something else" if value else "an empty array"
    return {"whole": "a number", "number": "a number", "text": "text", "boolean": "a boolean"}.get(
        _KINDS.get(type(value), ""), "null"
    )
