"""A calibration table: by which offset and gain, or matrix, the values of each device are corrected, from which day on.

A CSV file, a line for each device, date and field: see docs/calibration.md.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from headrace import textfile
from headrace.contracts.model import MAX_PROBLEMS, Contract, Field
from headrace.errors import ConfigError
from headrace.protocol.names import DEVICE
from headrace.protocol.versions import SHOWN_DIGITS, digest_of

MAX_BYTES = 64 * 1024 * 1024
SINCE, FIELD, OFFSET, GAIN, NOTE = "valid_from", "field", "offset", "gain", "note"
NEEDED, OWN = (DEVICE, SINCE, FIELD), (DEVICE, SINCE, FIELD, OFFSET, GAIN, NOTE)
FLOATS = ("double", "float")
_EXAMPLE = f"{DEVICE},{SINCE},{FIELD},{OFFSET},{GAIN}"
_SINGULAR = 1e-8  # the least pivot, each line scaled to 1: below it, half of a double's digits are lost
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Entry(NamedTuple):
    """How one field of one device is made from `since` on: the sum over `inputs` of factor * (raw - its offset)."""

    line: int
    device: str
    since: int  # microseconds since 1970 UTC
    field: str
    inputs: tuple[str, ...]
    factors: tuple[float, ...]
    offsets: tuple[float, ...]  # of the inputs
    ends: bool = False  # whether it only ends what was valid before: a line without numbers


@dataclass(frozen=True)
class Table:
    """A calibration table that can be used. `where` names it for people."""

    text: str = field(repr=False)
    where: str
    entries: tuple[Entry, ...] = field(repr=False)
    digest: str  # of the text

    @property
    def name(self) -> str:
        """For messages: `imu.csv, version 3f2a9c01`."""
        return f"{Path(self.where).name}, version {self.digest[:SHOWN_DIGITS]}"


class _Line(NamedTuple):
    number: int
    device: str
    since: int
    field: str
    offset: float
    factors: Mapping[str, float]  # by input; the gain alone for one field
    ends: bool  # whether it has no numbers


def read(path: Path) -> Table:
    """The table in a file. ConfigError, with each line and its remedy, if it can't be used."""
    hint = f"Write it: a CSV file that begins {_EXAMPLE}"
    return parse(textfile.read(path, "a calibration", MAX_BYTES, hint, keep_mark=True), path)


@lru_cache(maxsize=8)  # clean reads each table twice as it starts: a check, and then what it works by
def parse(text: str, where: str | Path) -> Table:
    """The table in the text of such a file, with its byte order mark: the digest is that of the file."""
    problems: list[str] = []
    entries = tuple(_entries(list(_lines(text, str(where), problems)), problems))
    if problems:
        more = [f"and {len(problems) - MAX_PROBLEMS:,} more"] if len(problems) > MAX_PROBLEMS else []
        raise ConfigError("\n".join([*(f"{where}, {p}" for p in problems[:MAX_PROBLEMS]), *more]))
    return Table(text, str(where), entries, digest_of(text))


def misfits(table: Table, contract: Contract) -> Iterator[str]:
    """Each field of the table that the contract doesn't have, or whose values can't be calibrated; with the remedy."""
    first: dict[str, int] = {}
    alone: dict[str, bool] = {}
    for e in table.entries:
        first.setdefault(e.field, e.line)
        alone[e.field] = alone.get(e.field, True) and len(e.inputs) == 1
    known = ", ".join(f.name for f in contract.fields if is_calibrated(f))
    for name, line in first.items():
        place = f"{table.where}, line {line}: field {name}"
        if name not in contract:
            yield f"{place}: the contract {contract.name} has none. Correct the name; it has {known or 'no numbers'}"
            continue
        f = contract.field(name)
        if not is_calibrated(f):
            yield (
                f"{place}: it is {f.items or f.logical or f.kind} in the contract {contract.name}, and a calibrated "
                f"value needs the type double or float. Change the type there, or leave the field out"
            )
        elif f.kind == "array" and not alone[name]:
            yield f"{place}: it is a list, which takes an offset and a gain. Leave it out of the matrix"


def is_calibrated(f: Field) -> bool:
    """Whether the field holds what a calibration can correct: floating-point numbers, or a list of them."""
    return f.kind in FLOATS or (f.kind == "array" and f.items in FLOATS)


def _lines(text: str, where: str, problems: list[str]) -> Iterator[_Line]:
    # Not splitlines(), which also ends a line at a form feed or U+2028 that a note may hold.
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        extra = _check_header(header)
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            try:
                yield _line(reader.line_num, header, extra, cells)
            except ValueError as e:
                problems.append(f"line {reader.line_num}: {e}")
    except csv.Error as e:
        raise ConfigError(f"{where}, line {reader.line_num}: not CSV: {e}. Save the table as CSV (UTF-8)") from None
    except ValueError as e:
        raise ConfigError(f"{where}, line 1: {e}") from None


def _check_header(header: Sequence[str]) -> list[str]:
    """The columns of a matrix's factors. ValueError if it is no header."""
    if len(header) == 1 and any(c in header[0] for c in ";\t"):
        raise ValueError("the columns are not separated by commas. Save the table with commas, and with points in 1.02")
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise ValueError(f"no column {' and no column '.join(missing)}. Begin the file with the names: {_EXAMPLE}")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0] or 'a column without a name'} is there twice. Rename or remove one of the columns")
    if "" in header:
        raise ValueError("a column has no name. Name it note if it is for people, or remove it")
    return [name for name in header if name not in OWN]


def _line(number: int, header: Sequence[str], extra: Sequence[str], cells: Sequence[str]) -> _Line:
    if len(cells) != len(header):
        raise ValueError(
            f"{len(cells)} cells, and the first line names {len(header)} columns. Put in what is missing; a number has "
            "a point, 1.02, and a text with a comma is in quotes"
        )
    row = dict(zip(header, cells, strict=True))
    for name in (DEVICE, FIELD):
        if not row[name]:
            raise ValueError(f"{name} is empty. Name the {'device' if name == DEVICE else 'field of the contract'}")
    factors = {name: _number(name, row[name]) for name in extra if row[name]}
    if factors and row.get(GAIN):
        raise ValueError(
            f"both {GAIN} and {', '.join(factors)}. A field has a gain, or factors of a matrix: remove one"
        )
    if factors and row[FIELD] not in factors:
        raise ValueError(f"no factor of {row[FIELD]} itself. Fill in the column {row[FIELD]}, with 0 if it has none")
    factors = factors or {row[FIELD]: _number(GAIN, row.get(GAIN) or "1")}
    if list(factors.values()) == [0.0]:
        raise ValueError(f"{GAIN} = 0: every value would become the same. Correct it")
    return _Line(
        number,
        row[DEVICE],
        _since(row[SINCE]),
        row[FIELD],
        _number(OFFSET, row.get(OFFSET) or "0"),
        factors,
        not any(row.get(name) for name in (OFFSET, GAIN, *extra)),
    )


def _number(name: str, text: str) -> float:
    try:
        number = math.nan if "_" in text else float(text)  # 1_02 would be 102
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} = {text!r:.40} is not a number. Write one such as 1.02")
    return number


@lru_cache(maxsize=1024)  # a table has few dates
def _since(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{SINCE} = {text!r:.40} is not a date. Write it as 2026-01-31, or as 2026-01-31T12:00:00Z"
        ) from None
    return ((time if time.tzinfo is not None else time.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def _entries(lines: Sequence[_Line], problems: list[str]) -> Iterator[Entry]:
    at: dict[tuple[str, int], dict[str, _Line]] = {}
    for it in lines:
        other = at.setdefault((it.device, it.since), {}).setdefault(it.field, it)
        if other is not it:
            problems.append(
                f"line {it.number}: line {other.number} has {it.field} of {it.device} from that time on already. "
                "Remove one, or correct its date"
            )
    for fields in at.values():
        checked: set[tuple[str, ...]] = set()
        for it in fields.values():
            inputs = tuple(it.factors)
            if len(inputs) == 1:
                numbers = tuple(it.factors.values()), (it.offset,)
                yield Entry(it.number, it.device, it.since, it.field, inputs, *numbers, it.ends)
                continue
            matrix = [o for name in inputs if (o := fields.get(name)) is not None and tuple(o.factors) == inputs]
            if inputs not in checked and (why := _of_matrix(inputs, matrix)):
                problems.append(f"line {it.number}: {why}")
            checked.add(inputs)
            offsets = tuple(o.offset for o in matrix)
            yield Entry(it.number, it.device, it.since, it.field, inputs, tuple(it.factors.values()), offsets)


def _of_matrix(inputs: tuple[str, ...], lines: Sequence[_Line]) -> str:
    """What is wrong with the matrix of these inputs, of which there are `lines`; empty if nothing is."""
    gone = [name for name in inputs if name not in {it.field for it in lines}]
    if gone:
        return (
            f"the matrix of {', '.join(inputs)} is not complete: {gone[0]} needs a line of the same device and date, "
            f"with numbers in the same columns ({', '.join(inputs)})"
        )
    if _is_singular([list(it.factors.values()) for it in lines]):
        return "the matrix is singular, or nearly: different readings would become the same. Correct its numbers"
    return ""


def _is_singular(rows: list[list[float]]) -> bool:
    """Whether a square matrix can't be undone, or hardly."""
    left = [[v / (max(map(abs, row)) or 1.0) for v in row] for row in rows]
    for column in range(len(rows)):  # Gauss's elimination, the largest pivot first
        left.sort(key=lambda row: -abs(row[column]))
        pivot, *others = left
        if abs(pivot[column]) < _SINGULAR:
            return True
        left = [[a - row[column] / pivot[column] * b for a, b in zip(row, pivot, strict=True)] for row in others]
    return False
