"""SenML (RFC 8428), in JSON or CBOR, to an object for each time and base name: a key for each record's name.

The older form with the records in `e` and with values in text, as benchmarks have it, is read too.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import msgspec

from bridge.decoders import cbor, times
from bridge.decoders.copies import MAX_ELEMENTS
from bridge.decoders.json.elements import loads, trimmed
from bridge.decoders.parsed import Parser
from bridge.decoders.wording import not_json
from headrace.config.formats import Senml
from headrace.errors import PoisonError, Reason

_LABELS = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
_BASES = ("bn", "bt", "bu", "bv", "bs")
_VALUES = ("v", "vs", "vb", "vd", "sv")
_VERSION = 10
_MAX_RECORDS = 50_000
_NUMBER = re.compile(r"[-+]?[0-9]{1,50}(\.[0-9]{1,50})?([eE][-+]?[0-9]{1,3})?")
_NOW = 2**28  # seconds: smaller times count from when the message came


def parser(settings: Senml | None) -> Parser:
    """The parser of SenML with these settings."""
    return Parser(partial(parse, settings=settings or Senml()))


class _Rows(NamedTuple):
    """The objects so far: all, and those that may get another value, by base name and time."""

    done: list[dict[str, Any]]
    open: dict[tuple[str, Fraction], dict[str, Any]]


def parse(payload: bytes, settings: Senml) -> list[dict[str, Any]]:
    """The objects of a payload, in the order of their first records. PoisonError: it is no SenML."""
    bases: dict[str, Any] = {}
    rows = _Rows([], {})
    records = _records(payload, bases)
    if len(records) > _MAX_RECORDS:
        words = f"{len(records):,} records, and a message may have {_MAX_RECORDS:,}: send them in several"
        raise PoisonError(Reason.TOO_LARGE, words)
    for number, record in enumerate(records, 1):
        try:
            _add(rows, _labelled(record), bases, settings)
        except PoisonError as e:
            raise PoisonError(e.reason, f"record {number}: {e}", field=e.field) from None
        if len(rows.done) > MAX_ELEMENTS:
            words = f"more than {MAX_ELEMENTS:,} times in one message: send them in several"
            raise PoisonError(Reason.TOO_LARGE, words)
    return rows.done


def _records(payload: bytes, bases: dict[str, Any]) -> list[Any]:
    text = trimmed(payload).strip()
    if text[:1] in {b"[", b"{"}:
        try:
            found = loads(text)
        except (msgspec.MsgspecError, ValueError, RecursionError) as e:
            raise not_json(text, e) from None
    else:
        found = cbor.load(payload)
    if isinstance(found, dict) and isinstance(found.get("e"), list):  # as before RFC 8428
        bases |= {key: found[key] for key in _BASES if key in found}
        found = found["e"]
    if not isinstance(found, list):
        raise PoisonError(Reason.MALFORMED, "not SenML: a list of records expected")
    return found


def _labelled(record: Any) -> dict[str, Any]:
    if not isinstance(record, Mapping):
        raise PoisonError(Reason.MALFORMED, "an object expected")
    found = {_LABELS.get(key, str(key)) if type(key) is int else key: value for key, value in record.items()}
    for key in found:
        if not isinstance(key, str) or key.endswith("_"):  # RFC 8428, 4.4: to be understood, or the pack is refused
            words = (
                f"the label {str(key)[:80]!r} is not known. RFC 8428 refuses such a pack: have the device leave it out"
            )
            raise PoisonError(Reason.UNKNOWN_FIELD, words)
    version = found.get("bver", _VERSION)
    if type(version) is not int or not 0 < version <= _VERSION:
        raise PoisonError(Reason.MALFORMED, f"bver: SenML up to version {_VERSION} is read")
    return found


def _add(rows: _Rows, record: dict[str, Any], bases: dict[str, Any], settings: Senml) -> None:
    bases |= {key: record[key] for key in _BASES if key in record}
    told = record.keys() - {"bver", *_BASES}
    if not told:
        return
    base, name = _text(bases, "bn"), _text(record, "n")
    if not base and not name:
        raise PoisonError(Reason.MISSING_FIELD, "neither it nor a record before it has a name")
    if not base:
        cut = max(name.rfind(":"), name.rfind("/")) + 1
        base, name = name[:cut], name[cut:]
    key = name or settings.value
    _check_unit(key, record.get("u", bases.get("bu")), settings)
    seconds = times.MICROSECONDS[settings.unit] / times.MICROSECONDS["s"]
    at = (_number(bases, "bt") + _number(record, "t")) * seconds
    row = rows.open.get((base, at))
    values = _values(key, record, bases)
    if row is None or row.keys() & values:
        row = rows.open[base, at] = _row(base, at, settings)
        rows.done.append(row)
    row |= values


def _row(base: str, at: Fraction, settings: Senml) -> dict[str, Any]:
    row: dict[str, Any] = {settings.name: base} if settings.name else {}
    microseconds = at * 1_000_000
    if at >= _NOW:
        (row["event_time"],) = times.at([microseconds])
    elif at:
        row["event_time"] = timedelta(microseconds=_within(microseconds))
    return row


def _within(microseconds: Fraction) -> int:
    if abs(microseconds) > _NOW * 1_000_000:
        words = "t: years before the message came. Is senml.unit right? Else see to the device's clock"
        raise PoisonError(Reason.OUT_OF_RANGE, words, field="t")
    return int(microseconds // 1)


def _values(key: str, record: dict[str, Any], bases: dict[str, Any]) -> dict[str, Any]:
    """The record's value by its key, and its sum by the key with `_sum` behind."""
    told = [label for label in _VALUES if label in record]
    if len(told) > 1:
        raise PoisonError(Reason.MALFORMED, f"{key[:80]}: {' and '.join(told)}, where one value is expected")
    found: dict[str, Any] = {}
    label = told[0] if told else "v"
    value = record.get(label)
    if label == "v" and "bv" in bases:
        found[key] = float(_number(bases, "bv") + _number(record, "v"))
    elif told:
        found[key] = _checked(key, label, value)
    if "s" in record:
        found[f"{key}_sum"] = float(_number(bases, "bs") + _number(record, "s"))
    if not found:
        raise PoisonError(Reason.MISSING_FIELD, f"{key[:80]}: no value", field=key[:80])
    return found


def _checked(key: str, label: str, value: Any) -> Any:
    good: dict[str, tuple[type, ...]] = {"v": (int, float, str), "vb": (bool,), "vd": (str, bytes)}
    if type(value) not in good.get(label, (str,)):
        raise PoisonError(Reason.WRONG_TYPE, f"{key[:80]}: {label} has a value of the wrong kind", field=key[:80])
    if label == "vd" and type(value) is str:  # base64 for URLs, its padding left out
        return value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4)
    return value


def _check_unit(key: str, unit: Any, settings: Senml) -> None:
    wanted = settings.units.get(key)
    if wanted is not None and unit != wanted:
        told = repr(unit[:40]) if isinstance(unit, str) else "none"
        words = f"{key[:80]}: the unit is {told}, and the route says {wanted!r}"
        raise PoisonError(Reason.WRONG_TYPE, words, field=key[:80])


def _text(found: dict[str, Any], label: str) -> str:
    value = found.get(label, "")
    if not isinstance(value, str):
        raise PoisonError(Reason.WRONG_TYPE, f"{label}: text expected")
    return value


def _number(found: dict[str, Any], label: str) -> Fraction:
    if label not in found:
        return Fraction(0)
    value = found[label]
    return times.exact(label, Decimal(value) if type(value) is str and _NUMBER.fullmatch(value) else value)
