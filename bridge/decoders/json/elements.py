"""The elements of a JSON array: how many there are, the bytes of one of them, and the first one's content."""

import json
from typing import Any

import msgspec
import orjson

MAX_ELEMENTS = 10_000  # of one payload: its readings, or dead letters, are all in memory at once

_RAW = msgspec.json.Decoder(list[msgspec.Raw])
_SCAN = json.JSONDecoder().raw_decode
_BLANK = " \t\n\r"


def is_array(payload: bytes) -> bool:
    """Whether a payload, if it is JSON at all, is an array."""
    return payload.lstrip()[:1] == b"["


def split(payload: bytes) -> list[bytes]:
    """The bytes of each element of an array. msgspec.DecodeError where the payload isn't one."""
    return [bytes(e) for e in _RAW.decode(payload)]


def element(payload: bytes, index: int) -> bytes:
    """The bytes of one reading of a payload that has been decoded: an element of its array, or the whole."""
    return bytes(_RAW.decode(payload)[index]) if is_array(payload) else payload


def first(payload: bytes) -> dict[str, Any]:
    """The object of a payload, or the first object of its array; empty when the payload is something else."""
    try:
        found = orjson.loads(payload)
    except ValueError:
        return {}
    if isinstance(found, list) and found:
        found = found[0]
    return found if isinstance(found, dict) else {}


def too_many(payload: bytes) -> bool:
    """Whether a payload is an array of more than MAX_ELEMENTS elements; False when it is malformed before that.

    16 MB of `[1,1,1,` would become eight million dead letters. The elements are counted one by one, since a decoder
    would take hundreds of megabytes first. Payloads with fewer commas are not looked at.
    """
    if len(payload) <= 2 * MAX_ELEMENTS or payload.count(b",") < MAX_ELEMENTS or not is_array(payload):
        return False
    try:
        text = payload.decode()
        position = text.index("[") + 1
        for _ in range(MAX_ELEMENTS):
            _, position = _SCAN(text, _after_blanks(text, position))
            position = _after_blanks(text, position)
            if text[position : position + 1] != ",":
                return False
            position += 1
    except (ValueError, RecursionError):
        return False
    return True


def _after_blanks(text: str, position: int) -> int:
    while text[position : position + 1] in _BLANK and position < len(text):
        position += 1
    return position
