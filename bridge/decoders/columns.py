"""A JSON object of lists, one a field and all equally long, to an object for each sample.

`{"t0": 1700000000, "dt": 0.01, "ax": [0.1, 0.2], "ay": [0.3, 0.4]}` has two samples. What is not a list is the same
for all of them. Objects may hold lists too.
"""

from datetime import UTC, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from bridge.decoders import times
from bridge.decoders.copies import MAX_BYTES, MAX_ELEMENTS, too_much, weight
from bridge.decoders.json.elements import loads, trimmed
from bridge.decoders.parsed import Parser
from bridge.decoders.wording import TOO_DEEP, kind, not_json
from headrace.config.formats import Columns
from headrace.errors import PoisonError, Reason

_DEPTH = 20  # objects in objects
_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EXACT = msgspec.json.Decoder(float_hook=Decimal)


def parser(columns: Columns | None, zone: tzinfo = UTC) -> Parser:
    """The parser of messages with these keys; the usual ones where they are None. `zone`: of times that name none."""
    return Parser(partial(parse, columns=columns or Columns(), zone=zone))


def parse(payload: bytes, columns: Columns, zone: tzinfo = UTC) -> list[dict[str, Any]]:
    """An object for each sample, in order, with its `event_time`. PoisonError for what is no such object."""
    text = trimmed(payload)
    try:
        found = loads(text)
        if type(found) is not dict:
            words = f"an object of lists expected, not {kind(found)}. Is it the format json?"
            raise PoisonError(Reason.MALFORMED, words)
        base = _exactly(text, (columns.start, columns.step, columns.rate))
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        raise not_json(text, e) from None
    for key in base:
        del found[key]
    lengths: list[tuple[int, str]] = []
    start = base.get(columns.start)
    if isinstance(start, list):
        lengths.append((len(start), columns.start))
    _measure(found, "", lengths)
    count = _only(lengths)
    if weight(_without_lists(found)) * count > MAX_BYTES:
        raise too_much()
    moments = _moments(base, columns, count, zone)
    listed = {k: _spread(v, count) for k, v in found.items() if _has_list(v)}
    listed["event_time"] = moments
    rest = {k: v for k, v in found.items() if k not in listed}
    return [rest | dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)]


def _exactly(text: bytes, keys: tuple[str, ...]) -> dict[str, Any]:
    """What an object, which has been read, has at these keys; numbers with a point as decimals."""
    try:
        raw = _RAW.decode(text)
    except msgspec.DecodeError:  # a bare NaN somewhere
        found = loads(text, Decimal)
        return {k: found[k] for k in keys if k in found}
    return {k: _EXACT.decode(raw[k]) for k in keys if k in raw}


def _measure(value: dict[str, Any], path: str, lengths: list[tuple[int, str]], depth: int = 0) -> None:
    if depth > _DEPTH:
        raise PoisonError(Reason.MALFORMED, f"{path[:80]}: {TOO_DEEP}")
    for key, inner in value.items():
        name = f"{path}.{key[:80]}" if path else key[:80]
        if isinstance(inner, dict):
            _measure(inner, name, lengths, depth + 1)
        elif isinstance(inner, list):
            lengths.append((len(inner), name))


def _only(lengths: list[tuple[int, str]]) -> int:
    """The length of all lists. PoisonError where there is none, or several."""
    if not lengths:
        raise PoisonError(Reason.MISSING_FIELD, "no list of values. Is it the format json?")
    (fewest, shortest), (count, longest) = min(lengths), max(lengths)
    if fewest != count:
        words = f"{shortest} has {fewest:,} values, {longest} has {count:,}: all need the same number"
        raise PoisonError(Reason.MALFORMED, words, field=shortest)
    if count > MAX_ELEMENTS:
        words = f"{count:,} samples, and a message may have {MAX_ELEMENTS:,}: send them in several"
        raise PoisonError(Reason.TOO_LARGE, words)
    return count


def _moments(base: dict[str, Any], columns: Columns, count: int, zone: tzinfo) -> list[Any]:
    start = base.get(columns.start)
    if start is None:
        words = f"{columns.start}: the time of the first sample is missing"
        raise PoisonError(Reason.MISSING_FIELD, words, field=columns.start)
    if isinstance(start, list):
        return times.at(times.instant(columns.start, t, columns.unit, zone) for t in start)
    first = times.instant(columns.start, start, columns.unit, zone)
    step, rate = base.get(columns.step), base.get(columns.rate)
    if step is None and rate is None and count > 1:
        words = f"{columns.step}: the time between two samples is missing. {columns.rate}, samples a second, would do"
        raise PoisonError(Reason.MISSING_FIELD, words, field=columns.step)
    if step is not None:
        between = times.exact(columns.step, step) * times.MICROSECONDS[columns.step_unit or columns.unit]
    elif rate is not None:
        hertz = times.exact(columns.rate, rate)
        if hertz <= 0:
            raise PoisonError(Reason.OUT_OF_RANGE, f"{columns.rate}: samples a second expected", field=columns.rate)
        between = times.MICROSECONDS["s"] / hertz
    else:
        between = times.exact("", 0)
    return times.moments(first, between, count)


def _has_list(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, dict) and any(map(_has_list, value.values())))


def _without_lists(value: Any) -> Any:
    """What is the same for all samples."""
    if not isinstance(value, dict):
        return value
    return {k: _without_lists(v) for k, v in value.items() if not isinstance(v, list)}


def _spread(value: Any, count: int) -> list[Any]:
    """What each sample has of a value with lists in it."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return [value] * count
    inner = [_spread(v, count) for v in value.values()]
    return [dict(zip(value, row, strict=True)) for row in zip(*inner, strict=True)]
