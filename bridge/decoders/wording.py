"""Words for bytes and values that are not what was expected: what they are instead, and what to do."""

import re
from datetime import datetime
from typing import Any, NoReturn

from headrace.errors import PoisonError, Reason

_AROUND = 12  # bytes shown before and after the place where JSON ends to be JSON
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_PLAIN = re.compile(r'\s*(?:[+-]?[.,]?\d[\d.,]*\s?\S{0,8}|true|false|on|off|"[^"]*")\s*', re.IGNORECASE)
_HINTS = {"object keys must be strings": ". Keys and texts stand in double quotes", "trailing comma": ". Leave it out"}
_AT = re.compile(r"\(byte (\d+)\)")

_NO_VALUE = frozenset({"nan", "inf", "infinity", "na", "n/a", "null", "none", "unknown", "unavailable", ""})
_NUMBER = re.compile(r"[+-]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,4})?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:[., ']\d{3}){1,20}(?:[.,]\d{1,20})?", re.ASCII)
_WITH_UNIT = re.compile(r"[+-]?\d{1,20}(?:[.,]\d{0,20})?\s?[^\d\s]\S{0,8}\Z", re.ASCII)
TOO_DEEP = "nested too deeply. Have the device send flatter objects"
_VALUE = "A route with `format: value` takes such payloads"


def kind(value: Any) -> str:
    """What a value of a payload is, for people."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int():
            return "a whole number"
        case float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "an object"
        case bytes():
            return "bytes"
        case datetime():
            return "a time"
        case _:
            return "another kind of value"


def missing(name: str, what: str = "is missing. If it may be, make it optional in the contract") -> PoisonError:
    """The error for a required field without a value."""
    return PoisonError(Reason.MISSING_FIELD, f"{name}: the field {what}", field=name)


def wrong(name: str, wanted: str, v: Any, hint: str = "") -> NoReturn:
    """Refuse a value of the field `name` that is not what is `wanted`."""
    words = f"{name}: {wanted} expected, not {kind(v)}: {short(v)}{hint}"
    raise PoisonError(Reason.WRONG_TYPE, words, field=name, value=short(v))


def short(v: Any) -> str:
    """A value as a message has it."""
    if isinstance(v, list | dict):
        return f"{len(v)} items" if len(v) != 1 else "1 item"
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, datetime):
        return v.isoformat()
    if isinstance(v, bytes):
        return f"{len(v)} of them"
    if isinstance(v, int) and v.bit_length() > 512:
        return "a number of hundreds of digits"
    return (v if isinstance(v, str) else repr(v))[:80]


def empty() -> PoisonError:
    """The refusal of a payload without a byte, in any format."""
    return PoisonError(Reason.MALFORMED, "the payload is empty. Have the device send its values, or nothing")


def broken(codec: str, payload: bytes, error: Exception) -> PoisonError:
    """The refusal of a payload that is not `codec`, as the error of its library says."""
    said = str(error)
    if isinstance(error, RecursionError):
        why = TOO_DEEP
    elif "truncated" in said or "premature end" in said:
        why = f"it ends in the middle, after {len(payload):,} bytes. Is a buffer too small?"
    else:
        why = said.rpartition("malformed: ")[2]
    return PoisonError(Reason.MALFORMED, f"not {codec}: {why}")


def not_json(payload: bytes, error: Exception) -> PoisonError:
    """The refusal of a payload that `error` says is no JSON."""
    return PoisonError(Reason.MALFORMED, f"not JSON: {_why(payload, error)}")


def not_an_object(found: Any) -> PoisonError:
    """The refusal of JSON that is neither an object nor an array of objects."""
    hint = "" if isinstance(found, list | None) else f". {_VALUE}"
    return PoisonError(Reason.MALFORMED, f"a JSON object expected, or an array of objects, not {kind(found)}{hint}")


def number_hint(value: Any, quotes: str = "without quotes", *, inner: bool = False) -> str:
    """What to do about text where a number should be; nothing where it is not text, or the text says nothing.

    `quotes`: what to say of quotes; empty where the format has none around text. `inner`: the field is in an object.
    """
    if not isinstance(value, str):
        return ""
    plain = value.strip()
    if plain.lstrip("+-").lower() in _NO_VALUE:
        means = ". If it means that there is no value, "
        if inner:  # rules act on a contract's own fields only
            return (
                f"{means}move the field to the contract's top, with sentinels, and name its path in the route's fields"
            )
        return f"{means}add it to the field's sentinels in the contract"
    if _NUMBER.fullmatch(plain):
        return f". Send the number without quotes{_setting(quotes, '.')}"
    if _NUMBER.fullmatch(plain.replace(",", ".", 1)):
        send = f"Send {plain.replace(',', '.', 1)}: with a decimal point"
        return f". {send}{quotes and f', {quotes}'}{_setting(quotes, ',')}"
    if _THOUSANDS.fullmatch(plain):
        return f". Send the number without marks between thousands{quotes and f' and {quotes}'}"
    if _WITH_UNIT.match(plain):
        return f". Send the number alone, without a unit{quotes and f' and {quotes}'}"
    return ""


def _setting(quotes: str, mark: str) -> str:
    return f", or set text_numbers: {mark!r} in the route" if quotes else ""


def _why(payload: bytes, error: Exception) -> str:
    if not payload.strip(b" \t\r\n\0"):
        return f"the payload is {'blank' if payload else 'empty'}. Have the device send a JSON object"
    if isinstance(error, RecursionError):
        return TOO_DEEP
    if found := next((name for magic, name in _MAGIC.items() if payload.startswith(magic)), ""):
        return f"the bytes are compressed with {found}. Set `compression: {found}` in the route"
    try:
        text = payload.decode()
    except UnicodeDecodeError as e:
        return f"byte {e.start} is no text in UTF-8: {payload[:_AROUND].hex(' ')} ... Is it another format?"
    if _PLAIN.fullmatch(text):
        return f"{text.strip()[:40]!r} is one plain value. {_VALUE}"
    if "truncated" in str(error):
        return (
            f"it ends in the middle, after {len(payload):,} bytes: ...{text[-2 * _AROUND :]!r}. Is a buffer too small?"
        )
    if text.lstrip().startswith("<"):
        return f"it looks like XML or HTML: {text.lstrip()[: 2 * _AROUND]!r}"
    hint = next((hint for words, hint in _HINTS.items() if words in str(error)), "")
    return f"{_said(str(error))}{_place(payload, str(error))}{hint}"


def _said(words: str) -> str:
    return _AT.sub("", words.removeprefix("JSON is malformed: ")).strip()


def _place(payload: bytes, words: str) -> str:
    found = _AT.search(words)
    if found is None:
        return ""
    at = int(found[1])
    near = payload[max(at - _AROUND, 0) : at + _AROUND].decode(errors="replace")
    return f" at byte {at}, in {near!r}"
