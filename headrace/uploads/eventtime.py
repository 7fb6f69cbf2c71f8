"""The event time of each row, as a profile says: of columns, of a start and a rate, of packets that share a time."""

from collections.abc import Callable
from datetime import datetime
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import ConfigError, PoisonError, Reason
from headrace.protocol.names import TIME
from headrace.readers.base import Batch
from headrace.readers.celltimes import micros as micros_of
from headrace.uploads import clockdrift, times
from headrace.uploads.localtimes import LocalTimes, zone_of
from headrace.uploads.part import Bools, Make, Part, Tell, missing, none
from headrace.uploads.profile import TimeFrom

Ints = npt.NDArray[np.int64]
_SECOND = 1_000_000


def maker(it: TimeFrom, at: Callable[[str], int]) -> Make:
    """What makes times of batches, microseconds since 1970 UTC. `at` gives a column's place by its name.

    ConfigError for what `it` can't be. The maker raises it where times have no zone, and `it` gives none.
    """
    if it.start:
        make = _Started(_instant(it.start, it.zone, "start"), _step(it)).make
    else:
        make = _InColumns(it, [at(column) for column in it.columns]).make
    if it.anchors:
        said, was = ([_instant(pair[i], it.zone, "anchors") for pair in it.anchors] for i in (0, 1))
        return _corrected(make, clockdrift.between(((said[0], was[0]), (said[1], was[1]))))
    return _corrected(make, clockdrift.shift(it.offset)) if it.offset else make


def _corrected(make: Make, correct: Callable[[Ints], Ints]) -> Make:
    def made(batch: Batch) -> Part:
        part = make(batch)
        return part._replace(values=correct(part.values))

    return made


class _Started:
    """Row i is at start + i / rate, also where rows before it can't be read."""

    def __init__(self, begin: int, step: Fraction) -> None:
        self._begin, self._step = begin, step

    def make(self, batch: Batch) -> Part:
        """See Make."""
        numbers: Ints = batch.numbers.to_numpy()
        return Part(self._begin + _times(numbers, self._step), none(len(numbers)), missing(TIME))


class _InColumns:
    """Times of columns; rows that share one are spread by the rate, where there is one."""

    def __init__(self, it: TimeFrom, places: list[int]) -> None:
        self._it, self._places = it, places
        self._form = times.form(it.form)
        self._local = LocalTimes(zone_of(it.zone)) if it.zone else None
        self._spread = _Spread(_step(it)) if it.rate is not None else None

    def make(self, batch: Batch) -> Part:
        """See Make."""
        column = batch.rows.column(self._places[0])
        if len(self._places) > 1:
            parts = [batch.rows.column(at).cast(pa.string()) for at in self._places]
            column = pc.binary_join_element_wise(*parts, " ", null_handling="emit_null")
        found = self._form(column)
        micros, exists = found.micros, found.there
        wall = found.local & found.there
        if wall.any():
            if self._local is None:
                raise ConfigError("its times have no zone. Write `zone` under `time`, such as Europe/Berlin or UTC")
            utc, occurred = self._local.utc(micros, wall)
            micros, exists = np.where(wall, utc, micros), np.where(wall, occurred, exists)
        if self._spread is not None:
            micros = self._spread.over(micros)
        return Part(micros, ~exists, self._tell(column, found.there))

    def _tell(self, column: pa.Array, there: Bools) -> Tell:
        def tell(row: int) -> PoisonError:
            cell = column[row].as_py()
            if cell is None:
                return missing(TIME)(row)
            if there[row]:
                words = f"{TIME}: {cell} did not occur in {self._it.zone}: clocks went forward"
            else:
                words = f"{TIME}: {str(cell)[:80]!r} is no time of the form {self._it.form}"
            return PoisonError(Reason.MALFORMED, words, field=TIME, value=str(cell))

        return tell


class _Spread:
    """Rows that share a time, as the samples of a packet do: each lies a step after the one above it."""

    def __init__(self, step: Fraction) -> None:
        self._step = step
        self._last: int | None = None
        self._count = 0  # rows with that time so far

    def over(self, micros: Ints) -> Ints:
        """The times of rows that follow those before."""
        if not len(micros):
            return micros
        place = np.arange(len(micros))
        new = np.concatenate([[int(micros[0]) != self._last], micros[1:] != micros[:-1]])
        begin = np.maximum.accumulate(np.where(new, place, -self._count))
        index: Ints = place - begin
        self._last, self._count = int(micros[-1]), int(index[-1]) + 1
        return micros + _times(index, self._step)


def _step(it: TimeFrom) -> Fraction:
    """Microseconds from a row to the next."""
    assert it.rate is not None
    return Fraction(_SECOND) / Fraction(str(it.rate))


def _times(numbers: Ints, step: Fraction) -> Ints:
    """Each number times the step, rounded down."""
    if int(numbers.max(initial=0)) * step.numerator < 2**63:
        return (numbers * step.numerator) // step.denominator
    return np.array([int(n * step) for n in numbers.tolist()], np.int64)


def _instant(text: str, zone: str, key: str) -> int:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"time.{key}: {text!r} is no time of ISO 8601, such as 2026-02-01T10:00:00Z") from None
    if when.tzinfo is None:
        if not zone:
            raise ConfigError(f"time.{key}: {text} has no zone. Write `zone` under `time`, or Z at its end for UTC")
        when = when.replace(tzinfo=zone_of(zone))
    return micros_of(when)
