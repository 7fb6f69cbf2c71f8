"""The elements of a JSON array: how many there are, the bytes of one of them, and the first one's content."""

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from bridge.decoders.copies import MAX_ELEMENTS
from bridge.decoders.wording import not_an_object, not_json

_ANY = msgspec.json.Decoder()
_RAW = msgspec.json.Decoder(list[msgspec.Raw])
_SCAN = json.JSONDecoder().raw_decode
_BLANK = " \t\n\r"
_BLANK_BYTES = b" \t\n\r"
_ONES, _NAN = b"1" * 9, b"NaN" + b" " * 6  # as long as the longest word
_MARK = b"\xef\xbb\xbf"  # a byte-order mark
# A JSON string, which may lack its end, so that no text is looked at twice; or a word for what is no finite number.
# Possessive: places to go back to would take a hundred times the memory of the text.
_WORD = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[-+]?\b(?:nan|inf(?:inity)?)\b', re.IGNORECASE | re.DOTALL)


def trimmed(payload: bytes) -> bytes:
    """The payload without a byte-order mark before it, and NULs behind it."""
    return payload.removeprefix(_MARK).rstrip(b"\0") if payload[:3] == _MARK or payload[-1:] == b"\0" else payload


def is_array(payload: bytes) -> bool:
    """Whether a payload, if it is JSON at all, is an array."""
    return payload.lstrip(_BLANK_BYTES)[:1] == b"["


def loads(text: bytes, fractions: Callable[[str], Any] = float) -> Any:
    """What JSON text says; NaN, Infinity, inf and the like are floats. msgspec.DecodeError, ValueError: it is no JSON.

    `fractions`: what makes numbers with a point or an exponent of their text. RecursionError: it is nested too deeply.
    """
    try:
        return (_ANY if fractions is float else msgspec.json.Decoder(float_hook=fractions)).decode(text)
    except msgspec.DecodeError:
        numbers = _without_words(text, _ONES)
        if numbers is None:
            raise
    _ANY.decode(numbers)  # stricter than `json`
    return json.loads(_without_words(text, _NAN) or b"", parse_float=fractions)


def parse(text: bytes) -> dict[str, Any]:
    """The object in a text of JSON. PoisonError when there is none."""
    try:
        found = loads(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        raise not_json(text, e) from None
    if type(found) is not dict:
        raise not_an_object(found)
    return found


def _without_words(text: bytes, number: bytes) -> bytes | None:
    """The text, as long as before, with the start of `number` for each NaN and infinity; None where it has none."""
    found = False

    def put(match: re.Match[bytes]) -> bytes:
        nonlocal found
        word = match[0]
        if word[:1] == b'"':
            return word
        found = True
        return number[: len(word)]

    out = _WORD.sub(put, text)
    return out if found else None


def split(text: bytes) -> list[bytes]:
    """The bytes of each element of an array. msgspec.DecodeError where the text isn't one."""
    try:
        return [bytes(e) for e in _RAW.decode(text)]
    except msgspec.DecodeError:
        numbers = _without_words(text, _ONES)
        if numbers is None:
            raise
    out = []
    at = text.index(b"[") + 1
    for one in map(bytes, _RAW.decode(numbers)):
        at = numbers.index(one, at)
        out.append(text[at : at + len(one)])
        at += len(one)
    return out


def element(payload: bytes, index: int) -> bytes:
    """The bytes of one reading of a payload that has been decoded: an element of its array, or the whole."""
    text = trimmed(payload)
    return split(text)[index] if is_array(text) else payload


def first(payload: bytes) -> dict[str, Any]:
    """The object of a payload, or the first object of its array; empty when the payload is something else."""
    try:
        found = loads(trimmed(payload))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    if isinstance(found, list) and found:
        found = found[0]
    return found if isinstance(found, dict) else {}


def too_many(payload: bytes) -> bool:
    """Whether a payload is an array of more than MAX_ELEMENTS elements; False when it is malformed before that.

    16 MB of `[1,1,1,` would become eight million dead letters. The elements are counted one by one, since a decoder
    would take hundreds of megabytes first. Payloads with fewer commas are not looked at.
    """
    if len(payload) <= 2 * MAX_ELEMENTS or not is_array(payload) or payload.count(b",") < MAX_ELEMENTS:
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
