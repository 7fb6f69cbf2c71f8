"""Cells of a file as times: numbers since 1970, ISO 8601, or a format of strptime. In columns, and exact.

What a zone has to do with it, and what clocks that change have, is in `localtimes`.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import ConfigError
from headrace.readers.celltimes import PER_UNIT, check_format, micros, scaled

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_WHOLE_DIGITS = {"s": 12, "ms": 15, "us": 18, "ns": 18}
_MOST = 2**62  # microseconds, either way
_ISO = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
# The directives of strptime that are digits alone, with what Python's takes for them.
_DIGITS = {
    "Y": r"(?P<Y>\d{4})", "y": r"(?P<y>\d{2})", "m": r"(?P<m>\d{1,2})", "d": r"(?P<d>\d{1,2})", "H": r"(?P<H>\d{1,2})",
    "M": r"(?P<M>\d{1,2})", "S": r"(?P<S>\d{1,2})", "f": r"(?P<f>\d{1,6})",
}  # fmt: skip
_HIGHEST = {"m": 12, "d": 31, "H": 23, "M": 59, "S": 59}
_LOWEST = {"m": 1, "d": 1}


class Found(NamedTuple):
    """Times of a column. A row that is not `there` holds no time of the form; `local`: one without a zone."""

    micros: Ints  # since 1970; UTC, or as the clock on the wall showed it where `local`
    there: Bools
    local: Bools


Form = Callable[[pa.Array], Found]


def form(text: str) -> Form:
    """What reads cells of a form: s, ms, us or ns (since 1970 UTC), iso, or a format of strptime.

    ConfigError for a format that strptime does not know, or that has no date.
    """
    if text in _WHOLE_DIGITS:
        return lambda cells: _numbers(cells, text)
    if text == "iso":
        return _iso
    if "%" not in text:
        raise ConfigError(f"time: {text!r} is no form: s, ms, us, ns, iso, or a format such as %Y-%m-%d %H:%M:%S")
    try:
        check_format(text)
    except ValueError as e:
        raise ConfigError(f"time: {text!r}: {e}") from None
    pattern = _pattern(text)
    return (
        (lambda cells: _of_digits(cells, pattern)) if pattern else (lambda cells: _one_by_one(cells, _strptime(text)))
    )


def _numbers(cells: pa.Array, unit: str) -> Found:
    """Numbers since 1970; of text each digit counts. Microseconds are rounded down."""
    if pa.types.is_timestamp(cells.type):
        return _stamps(cells)
    out, there = np.zeros(len(cells), np.int64), cells.is_valid().to_numpy(zero_copy_only=False)
    local = np.zeros(len(cells), np.bool_)
    if pa.types.is_integer(cells.type):
        whole = cells.fill_null(0).cast(pa.int64()).to_numpy()
        return _bounded(Found(whole // 1000 if unit == "ns" else whole, there, local), PER_UNIT.get(unit, 1))
    if not pa.types.is_string(cells.type) and not pa.types.is_large_string(cells.type):
        return _one_by_one(cells, lambda x: (scaled(str(x).strip(), unit, _MOST), False))
    plain = pc.extract_regex(cells, rf"^(?P<w>\d{{1,{_WHOLE_DIGITS[unit]}}})(?:\.(?P<f>\d*))?$")  # others one by one
    fits = plain.is_valid().to_numpy(zero_copy_only=False)
    if fits.any():
        few = plain.filter(pa.array(fits))
        whole = pc.struct_field(few, "w").cast(pa.int64()).to_numpy()
        factor = PER_UNIT.get(unit, 0)
        digits = {1_000_000: 6, 1_000: 3}.get(factor, 0)
        part = pc.utf8_slice_codeunits(pc.utf8_rpad(pc.struct_field(few, "f"), max(digits, 1), "0"), 0, max(digits, 1))
        fraction = part.cast(pa.int64()).to_numpy() if digits else np.zeros(len(whole), np.int64)
        out[fits] = whole // 1000 if unit == "ns" else whole * factor + fraction
    rest = np.flatnonzero(there & ~fits)
    for row in rest.tolist():
        try:
            out[row] = scaled(cells[row].as_py().strip(), unit, _MOST)
        except ValueError:
            there[row] = False
    return Found(out, there, local)


def _bounded(found: Found, factor: int) -> Found:
    most = _MOST // factor
    sound = found.there & (np.abs(found.micros) <= most)
    return Found(np.where(sound, found.micros, 0) * factor, sound, found.local)


def _stamps(cells: pa.Array) -> Found:
    """A column that holds times already; without a zone they are local."""
    there = cells.is_valid().to_numpy(zero_copy_only=False)
    ticks = cells.cast(pa.int64()).fill_null(0).to_numpy()
    local = np.full(len(cells), cells.type.tz is None)
    if cells.type.unit == "ns":
        return Found(ticks // 1000, there, local)
    return _bounded(Found(ticks, there, local), PER_UNIT[cells.type.unit])


def _iso(cells: pa.Array) -> Found:
    """ISO 8601, with a zone or without, each row by itself. What lies below the microsecond is cut off."""
    if pa.types.is_timestamp(cells.type):
        return _stamps(cells)
    text = pc.replace_substring_regex(cells, r"(\.\d{6})\d+", r"\1")
    micros = np.zeros(len(cells), np.int64)
    there = cells.is_valid().to_numpy(zero_copy_only=False)
    local, rest = np.zeros(len(cells), np.bool_), there.copy()
    for pattern, kind in (
        (f"{_ISO}$", pa.timestamp("us")),
        (rf"{_ISO}(Z|[+-]\d{{2}}:\d{{2}})$", pa.timestamp("us", "UTC")),
    ):
        fits = pc.match_substring_regex(text, pattern).fill_null(False)
        rows = fits.to_numpy(zero_copy_only=False)
        if rows.any():
            try:
                micros[rows] = text.filter(fits).cast(kind).cast(pa.int64()).to_numpy()
            except pa.ArrowInvalid:
                continue  # one of them is no date: one by one
            local[rows], rest[rows] = kind.tz is None, False
    if rest.any():
        one = _one_by_one(cells.filter(pa.array(rest)), _fromisoformat)
        micros[rest], there[rest], local[rest] = one
    return Found(micros, there, local)


def _fromisoformat(text: Any) -> tuple[int, bool]:
    return _told(datetime.fromisoformat(text))


def _strptime(form: str) -> Callable[[Any], tuple[int, bool]]:
    return lambda text: _told(datetime.strptime(text, form))  # noqa: DTZ007 - the zone is added later


def _told(when: datetime) -> tuple[int, bool]:
    return micros(when), when.tzinfo is None


def _one_by_one(cells: pa.Array, read: Callable[[Any], tuple[int, bool]]) -> Found:
    """Each different cell once."""
    known: dict[Any, tuple[int, bool, bool]] = {None: (0, False, False)}
    rows = []
    for cell in cells.to_pylist():
        if cell not in known:
            try:
                value, wall = read(cell.strip() if isinstance(cell, str) else cell)
                known[cell] = value, True, wall
            except (ValueError, OverflowError, TypeError):
                known[cell] = 0, False, False
        rows.append(known[cell])
    return Found(
        np.array([value for value, _, _ in rows], np.int64),
        np.array([there for _, there, _ in rows], np.bool_),
        np.array([wall for _, _, wall in rows], np.bool_),
    )


def _pattern(text: str) -> str:
    """A format as a regular expression, where all its directives are digits and it has a date; else empty."""
    out, used = [], set()
    for part in re.split(r"(%.|\s+)", text):
        if part.startswith("%"):
            name = part[1:]
            if name not in _DIGITS or name in used:
                return ""
            used.add(name)
            out.append(_DIGITS[name])
        else:
            out.append(r"\s+" if part and part.isspace() else re.escape(part))
    dated = {"m", "d"} <= used and len({"Y", "y"} & used) == 1
    return "^" + "".join(out) + "$" if dated else ""


def _of_digits(cells: pa.Array, pattern: str) -> Found:
    parts = pc.extract_regex(cells, pattern)
    there = parts.is_valid().to_numpy(zero_copy_only=False)
    micros = np.zeros(len(cells), np.int64)
    few = parts.filter(pa.array(there))
    names = [f.name for f in parts.type]
    text = {name: pc.struct_field(few, name) for name in names}
    fraction = text.pop("f", None)
    number = {name: column.cast(pa.int64()).to_numpy() for name, column in text.items()}
    sound = np.ones(len(few), np.bool_)
    for name, column in number.items():
        sound &= (column >= _LOWEST.get(name, 0)) & (column <= _HIGHEST.get(name, 9999))
    year = number["Y"] if "Y" in number else number["y"] + np.where(number["y"] < 69, 2000, 1900)  # as strptime has it
    sound &= year >= 1
    months = np.where(sound, (year - 1970) * 12 + number["m"] - 1, 0).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (np.where(sound, number["d"], 1) - 1)
    sound &= days.astype("datetime64[M]") == months
    seconds = days.astype(np.int64) * 86_400
    for name, factor in (("H", 3_600), ("M", 60), ("S", 1)):
        seconds = seconds + number.get(name, np.zeros(len(few), np.int64)) * factor
    value = seconds * 1_000_000
    if fraction is not None:
        value = value + pc.utf8_rpad(fraction, 6, "0").cast(pa.int64()).to_numpy()
    micros[there] = np.where(sound, value, 0)
    there[there] = sound
    return Found(micros, there, there.copy())
