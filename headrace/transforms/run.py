"""A transform on a batch of rows: what it changed, and which rows it failed on.

What becomes of a row depends on that row alone, if the function is row-wise: never on what it shares a batch with.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from math import inf, isclose, isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.contracts.model import Field
from headrace.errors import ConfigError
from headrace.transforms import polarstable
from headrace.transforms.code import Code, Function, last_line, load
from headrace.transforms.table import Columns, Wrong, back, differs, forbidden, is_missing, shown, table

if TYPE_CHECKING:
    import pandas as pd

_EPSILON = {"double": 2.0**-52, "float": 2.0**-23}
_WHOLE = {"int", "long"}
_ULPS = 8  # how far results may lie apart and count as the same
_EXACT = 2.0**53  # from here on a float does not hold every whole number
_CALL_SECONDS = 1.0  # that a call of the function should take at most: between calls the process shows that it lives
_FIRST_ROWS = 4  # of the first call, while it is not known how long a row takes
_SHAPE = "a transform gives the same rows with the same columns"


class Failure(NamedTuple):
    """Why a row can't be transformed. `field` and `value`: of the result, where one of them is wrong."""

    message: str
    field: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What a transform made of a batch, by row: new values as stored, by field; and the rows that it failed on.

    A row in neither stays as it is.
    """

    changes: dict[int, dict[str, Any]] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)


class Transform:
    """A transform that is loaded."""

    def __init__(self, code: Code) -> None:
        """ConfigError if the code can't be loaded."""
        self.code = code
        self._function: Function = load(code)
        self._for_polars = polarstable.is_wanted(self._function)
        self._fitting = _FIRST_ROWS  # rows of a call, as long as they take

    def run(self, fields: Sequence[Field], columns: Columns, alive: Callable[[], object] = lambda: None) -> Result:
        """What it makes of the n rows in `columns`. `alive` is called before each call of the function.

        Where the function raises, or returns no table of the same rows, the batch is halved: see `in_parts`.
        """
        out = Result()
        whole = table(fields, columns)

        def made(given: "pd.DataFrame") -> "pd.DataFrame":
            index = given.index  # as the function may set another one on it
            got = _same_rows(self.call(fields, given), index, list(whole.columns))
            check_whole(fields, got)
            return got

        for first, end, got in self.in_parts(fields, whole, made, out.failures, alive):
            for f in fields:
                _compare(f, columns[f.name], whole[f.name].iloc[first:end], got[f.name], first, out)
        for row in out.failures:
            out.changes.pop(row, None)
        return out

    def in_parts(
        self,
        fields: Sequence[Field],
        whole: "pd.DataFrame",
        made: Callable[["pd.DataFrame"], "pd.DataFrame"],
        failures: dict[int, Failure],
        alive: Callable[[], object],
    ) -> "Iterator[tuple[int, int, pd.DataFrame]]":
        """(first row, one past the last, `made` of these rows), of the n rows of `whole` with `fields`, in any order.

        `made` gets as many rows at once as take a second. Where it raises, they are halved until those that make it do
        so stand alone: they are added to `failures`. About 2 log2(n) calls for each of them, and less than 2 n calls in
        all.
        """
        records = [f.name for f in fields if f.kind == "record"]
        parts = [(0, len(whole))] if len(whole) else []
        while parts:
            first, end = parts.pop()
            if end - first > self._fitting:
                parts.append((first + self._fitting, end))
                end = first + self._fitting
            alive()
            begun = monotonic()
            try:
                given = whole.iloc[first:end].copy()
                for name in records:
                    given[name] = given[name].map(deepcopy)
                got = made(given)
            except (MemoryError, KeyboardInterrupt):
                raise
            except BaseException as e:  # noqa: BLE001 - whatever the function raises; a panic of Rust is no Exception
                if end - first > 1:
                    middle = (first + end) // 2
                    parts += [(first, middle), (middle, end)]
                else:
                    shape = isinstance(e, WrongShape)
                    failures[first] = Failure(str(e) if shape else last_line(e, self.code))
            else:
                yield first, end, got
            self._learn(end - first, monotonic() - begun)

    def _learn(self, rows: int, seconds: float) -> None:
        """Rows took so long: give the next call as many as fit their time."""
        if seconds > _CALL_SECONDS:
            self._fitting = max(1, min(self._fitting, int(rows * _CALL_SECONDS / seconds)))
        elif rows == self._fitting and seconds < _CALL_SECONDS / 4:
            self._fitting *= 4

    def check(self, fields: Sequence[Field], columns: Columns, alive: Callable[[], object] = lambda: None) -> None:
        """ConfigError if what becomes of one of these rows depends on the others: their order, or their number.

        The last digits of floats may: NumPy adds columns up in another order when there are more rows.
        """
        n = len(next(iter(columns.values())))
        whole = self.run(fields, columns, alive)
        for rows in orders(n):
            part = self.run(fields, {name: [values[i] for i in rows] for name, values in columns.items()}, alive)
            for place, row in enumerate(rows):
                apart, together = part.changes.get(place, {}), whole.changes.get(row, {})
                same = apart == together or _nearly(fields, columns, row, apart, together)
                if not same or (place in part.failures) != (row in whole.failures):
                    raise ConfigError(
                        f"{self.code.name}: it is not row-wise: what it makes of a row depends on the rows beside it "
                        f"({_words(together)} in one batch, {_words(apart)} in another). Use the row's own values "
                        "only: no mean, diff, shift, fillna from neighbours, counters, clocks or random numbers"
                    )

    def call(self, fields: Sequence[Field], given: "pd.DataFrame", *, numbered: bool = False) -> "pd.DataFrame":
        """The function on a table. WrongShape if it returns none; whatever it raises.

        `numbered`: it may make other rows, whose index says of which row of `given` each is made.
        """
        import pandas as pd

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a process that makes errors of warnings must not decide otherwise
            if self._for_polars:
                got = polarstable.call(self._function, fields, given, numbered=numbered)
            else:
                got = self._function(given)
        if got is None:
            raise WrongShape("it returned nothing: end it with `return df`")
        if not isinstance(got, pd.DataFrame):
            raise WrongShape("what it returned is no DataFrame")
        return got


def orders(n: int) -> list[list[int]]:
    """Orders in which to try n rows, to see whether what becomes of one depends on others: halves, turned, alone."""
    return [list(range(n // 2)), list(range(n - 1, n // 2 - 1, -1)), *([i] for i in range(min(n, 3)))]


class WrongShape(Exception):  # noqa: N818 - made into a Failure at once
    """What the function returned is no table, or not one of the rows that are wanted."""


def _same_rows(got: "pd.DataFrame", index: "pd.Index[Any]", names: list[str]) -> "pd.DataFrame":
    """`got`. WrongShape if it has other rows or columns than the table that was given."""
    if len(got) != len(index):
        raise WrongShape(
            f"it made {len(got):,} rows of {len(index):,}: {_SHAPE}. To refuse a row, raise an error; several rows "
            "of one belong in a stream of their own, which is made `from` this one (docs/derived-streams.md)"
        )
    if not got.index.equals(index):
        raise WrongShape(f"it changed the index: {_SHAPE}, in the same order. Leave out sorts and reset_index")
    new = [str(c) for c in got.columns if c not in names]
    gone = [str(c) for c in names if c not in got.columns]
    if new:
        raise WrongShape(f"it added {', '.join(new[:5])}: {_SHAPE}. Add the field to the contract, optional")
    if gone or len(got.columns) != len(names):
        raise WrongShape(f"it left out, or doubled, {', '.join(gone[:5]) or 'a column'}: {_SHAPE}")
    return got


def check_whole(fields: Sequence[Field], got: "pd.DataFrame") -> None:
    """WrongShape if whole numbers came back as floats that may have lost digits, for the sake of another row."""
    for f in fields:
        if f.kind in _WHOLE and not f.logical and got[f.name].dtype.kind == "f":
            sizes = got[f.name].abs().to_numpy("float64", na_value=0.0)
            if ((sizes >= _EXACT) & (sizes < inf)).any():
                raise WrongShape(
                    f"{f.name}: whole numbers came back as floats, and lose digits from 2**53 on: use // for /, give "
                    f"`where` a whole number, or end with df['{f.name}'] = df['{f.name}'].astype('int64')"
                )


def _compare(
    f: Field, stored: Sequence[Any], old: "pd.Series[Any]", new: "pd.Series[Any]", first: int, out: Result
) -> None:
    """Note in `out` what became of the field in rows from `first` on."""
    if new.dtype == old.dtype and new.equals(old):
        return
    is_double = f.kind == "double"
    for row, value in enumerate(new.tolist(), first):
        if is_double and type(value) is float and isfinite(value):  # nearly all there is
            if value != stored[row]:
                out.changes.setdefault(row, {})[f.name] = value
            continue
        try:
            if not differs(f, stored[row], value):
                continue
            why = forbidden(f)
            if why is not None:
                raise Wrong(f"it was changed to {value!s:.60}: {why}")
            out.changes.setdefault(row, {})[f.name] = back(f, value)
        except Exception as e:  # noqa: BLE001 - an object that can't be compared, such as an array in a text's place
            out.failures.setdefault(row, misfit(f, value, e))


def misfit(f: Field, value: Any, error: Exception) -> Failure:
    """The failure of a row in which a field's value is wrong: `error` was raised over it."""
    why = str(error) if isinstance(error, Wrong) else f"{shown(value)} is not of the contract's type {f.kind}"
    try:
        text = "" if is_missing(value) else str(value)[:200]
    except Exception:  # noqa: BLE001 - whatever its type raises
        text = shown(value)
    return Failure(f"{f.name}: {why}", f.name, text)


def _nearly(fields: Sequence[Field], columns: Columns, row: int, one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a row's changes differ by no more than a sum over its floats may."""
    slack = _ULPS * sum(
        _epsilon(f) * abs(v) for f in fields for v in _reals(f, columns[f.name][row]) if v is not None and isfinite(v)
    )
    for f in fields:
        a, b = (changes.get(f.name, columns[f.name][row]) for changes in (one, other))
        if a is b or (not _is_array(a) and not _is_array(b) and a == b):
            continue
        left, right = _reals(f, a), _reals(f, b)
        if not left or len(left) != len(right):
            return False
        for x, y in zip(left, right, strict=True):
            if x != y and (x is None or y is None or not isclose(x, y, rel_tol=_ULPS * _epsilon(f), abs_tol=slack)):
                return False
    return True


def _epsilon(f: Field) -> float:
    return _EPSILON.get(f.items or f.kind, 0.0)


def _reals(f: Field, value: Any) -> list[float | None]:
    """The floats of a field's value as stored; none of a field of another type."""
    if not _epsilon(f):
        return []
    if _is_array(value):
        return value.tolist()  # type: ignore[no-any-return]
    return value if isinstance(value, list) else [value]


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and getattr(value, "ndim", 0) > 0


def _words(changes: dict[str, Any]) -> str:
    if not changes:
        return "unchanged"
    return ", ".join(f"{name} = {value!s:.30}" for name, value in sorted(changes.items())[:2])
