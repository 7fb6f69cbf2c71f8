"""A transform that makes rows of another contract: any number of each reading, and each knows of which it was made.

What is made of a reading depends on that reading alone, if the function is row-wise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from headrace.contracts.model import Field
from headrace.errors import ConfigError
from headrace.protocol.names import DEVICE, TIME
from headrace.transforms.run import Failure, Transform, WrongShape, check_whole, misfit, orders
from headrace.transforms.table import UNITS, Columns, Wrong, back, is_missing, table

if TYPE_CHECKING:
    import pandas as pd

_FIRST = 1_000_000_000  # label of the first reading: an index that was reset can't be taken for one that was kept
_NEAR = {"double": 2.0**-40, "float": 2.0**-16}  # how far results may lie apart, relative to the largest number
_FROM_READING = (DEVICE, TIME)  # fields that a row has from its reading where the function gives none
MAX_ROWS = 10_000  # of one reading


@dataclass(frozen=True, slots=True)
class Derived:
    """What was made of n readings: by reading its rows, values as stored by field; and the readings it failed on."""

    rows: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)


def derive(
    transform: Transform,
    given: Sequence[Field],
    wanted: Sequence[Field],
    columns: Columns,
    alive: Callable[[], object] = lambda: None,
) -> Derived:
    """The rows with the fields `wanted` that a transform makes of readings with the fields `given`, n in `columns`.

    `alive` is called before each call of the function. A reading of which one row is wrong is a failure as a whole.
    """
    out = Derived()
    whole = table(given, columns)
    whole.index += _FIRST
    names, sources = [f.name for f in wanted], {f.name for f in given}

    def made(part: "pd.DataFrame") -> "pd.DataFrame":
        index = part.index  # as the function may set another one on it
        got = _numbered(transform.call(given, part, numbered=True), index)
        _check_columns(got, names, sources)
        check_whole([f for f in wanted if f.name in got.columns], got)
        return got

    for _first, _end, got in transform.in_parts(given, whole, made, out.failures, alive):
        _take(got, wanted, columns, out)
    for reading in out.failures:
        out.rows.pop(reading, None)
    return out


def check(
    transform: Transform,
    given: Sequence[Field],
    wanted: Sequence[Field],
    columns: Columns,
    alive: Callable[[], object] = lambda: None,
) -> None:
    """ConfigError if what is made of one of these readings depends on the others: their order, or their number."""
    n = len(next(iter(columns.values())))
    whole = derive(transform, given, wanted, columns, alive)
    for readings in orders(n):
        some = {name: [values[i] for i in readings] for name, values in columns.items()}
        part = derive(transform, given, wanted, some, alive)
        for place, reading in enumerate(readings):
            apart, together = part.rows.get(place, []), whole.rows.get(reading, [])
            scale = max((abs(x) for f in given for x in _reals(f, columns[f.name][reading])), default=0.0)
            if (place in part.failures) != (reading in whole.failures) or not _same(wanted, apart, together, scale):
                raise ConfigError(
                    f"{transform.code.name}: it is not row-wise: what it makes of a reading depends on the readings "
                    f"beside it ({_words(together, apart)} in one batch, {_words(apart, together)} in another). Use "
                    "the reading's own values only: no mean, diff or shift over rows, no counters, clocks, chance"
                )


def _numbered(got: "pd.DataFrame", index: "pd.Index[Any]") -> "pd.DataFrame":
    """The rows in the order of their readings. WrongShape if they don't say of which reading they are made."""
    if len(got) and (got.index.nlevels > 1 or not got.index.isin(index).all()):
        raise WrongShape(
            "its rows don't say of which reading they are made: keep the index (of polars: the column _row) of the "
            "readings. explode, loc, query and concat do; leave out reset_index and ignore_index"
        )
    got = got.sort_index(kind="stable")
    most = got.index.value_counts().max() if len(got) else 0
    if most > MAX_ROWS:
        raise WrongShape(f"it made {most:,} rows of one reading, and {MAX_ROWS:,} are allowed")
    return got


def _check_columns(got: "pd.DataFrame", names: Sequence[str], sources: set[str]) -> None:
    strange = [str(c) for c in got.columns if c not in names and c not in sources]
    if strange:
        raise WrongShape(
            f"it made the column {strange[0]}, which the stream's contract does not have. Add the field to the "
            "contract, or leave the column out"
        )
    if got.columns.has_duplicates:
        raise WrongShape("it made two columns of one name")


def _take(got: "pd.DataFrame", wanted: Sequence[Field], columns: Columns, out: Derived) -> None:
    """Add the rows of a part to `out`, with their values as stored."""
    readings = (got.index.to_numpy("int64") - _FIRST).tolist()
    rows: list[dict[str, Any]] = [{} for _ in readings]
    for f in wanted:
        values = got[f.name].tolist() if f.name in got.columns else [None] * len(readings)
        for row, reading, value in zip(rows, readings, values, strict=True):
            if type(value) is float and f.kind == "double" and isfinite(value):  # nearly all there is
                row[f.name] = value
                continue
            try:
                row[f.name] = _stored(f, value, columns, reading)
            except Exception as e:  # noqa: BLE001 - whatever the function's own types raise
                out.failures.setdefault(reading, misfit(f, value, e))
    for row, reading in zip(rows, readings, strict=True):
        out.rows.setdefault(reading, []).append(row)


def _stored(f: Field, value: Any, columns: Columns, reading: int) -> Any:
    """A cell's value as it is stored. Wrong, with the remedy, if the contract has no place for it.

    What is missing comes from the reading where it can, cell by cell: a table that the function puts together of parts
    has gaps where a part lacks a column, and which parts there are depends on the batch.
    """
    if f.name in _FROM_READING and is_missing(value):
        return columns[f.name][reading]
    if (f.kind == "record" or f.logical == "decimal") and not is_missing(value):
        kind = "record" if f.kind == "record" else "decimal"
        raise Wrong(f"a {kind} can be read by a transform, and not made: leave the column out")
    made = back(f, value)
    if f.name == DEVICE and made != columns[DEVICE][reading]:
        raise Wrong("it says whose row it is, and must stay that of the reading")
    return made


def _same(fields: Sequence[Field], one: list[dict[str, Any]], other: list[dict[str, Any]], scale: float) -> bool:
    """Whether two lists of rows are the same, but for the last digits of floats."""
    if len(one) != len(other):
        return False
    return all(
        a[f.name] == b[f.name] or _near(f, a[f.name], b[f.name], scale)
        for a, b in zip(one, other, strict=True)
        for f in fields
    )


def _near(f: Field, a: Any, b: Any, scale: float) -> bool:
    left, right = _reals(f, a), _reals(f, b)
    if not left or len(left) != len(right):
        return False
    slack = _NEAR[f.items or f.kind]
    return all(abs(x - y) <= slack * max(abs(x), abs(y), scale) for x, y in zip(left, right, strict=True))


def _reals(f: Field, value: Any) -> list[float]:
    if value is None or f.logical in UNITS or (f.items or f.kind) not in _NEAR:
        return []
    values = list(value) if f.items else [value]
    return [v for v in values if v is not None and isfinite(v)]


def _words(rows: list[dict[str, Any]], beside: list[dict[str, Any]]) -> str:
    """What was made of a reading in one batch, as far as it is not what was made in another."""
    apart = next(((a, b) for a, b in zip(rows, beside, strict=False) if a != b), None)
    if len(rows) != len(beside) or apart is None:
        return {0: "no row", 1: "one row"}.get(len(rows), f"{len(rows):,} rows")
    row, other = apart
    return ", ".join(f"{name} = {value!s:.30}" for name, value in row.items() if value != other[name])[:100]
