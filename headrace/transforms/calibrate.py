"""A calibration on a batch of rows, in columns: which values it corrects, and to what.

What becomes of a value depends on its row alone, to the last bit: sums are made in the order of the table's columns.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.contracts.calibration import Entry, Table, is_calibrated
from headrace.contracts.model import Field
from headrace.protocol.names import DEVICE, TIME

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Numbers(NamedTuple):
    """A field's numbers in n rows: one a row, NaN without a value; of a list all of its items, row after row."""

    numbers: Floats
    present: Bools  # (n,): which rows have a value
    counts: Ints | None = None  # (n,): of a list, how many of the numbers are the row's


class Corrected(NamedTuple):
    """What became of a field in n rows."""

    field: Field
    numbers: npt.NDArray[Any]  # as `Numbers.numbers`, in the field's own precision; right where `applied`
    counts: Ints | None
    applied: Bools  # (n,): the values that were corrected
    left: Bools  # (n,): those that could not be: they or another of their matrix are missing or not finite
    broken: Bools  # (n,): of the applied ones, those that came out not finite


class Calibration:
    """A calibration table, laid out to be looked up by device and time."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.devices = list(dict.fromkeys(e.device for e in table.entries))  # their places are their codes
        self._since = np.unique(np.array([e.since for e in table.entries], np.int64))
        self._keys: list[Ints] = []
        by_field: dict[str, list[Entry]] = {}
        for e in table.entries:
            by_field.setdefault(e.field, []).append(e)
        code = {device: i for i, device in enumerate(self.devices)}
        self._columns = [self._column(name, entries, code) for name, entries in by_field.items()]
        self.fields = tuple(by_field)

    def _column(self, name: str, entries: list[Entry], code: dict[str, int]) -> "_Column":
        since = np.array([e.since for e in entries], np.int64)
        codes = np.array([code[e.device] for e in entries], np.int64)
        keys = codes * (len(self._since) + 1) + np.searchsorted(self._since, since) + 1
        order = np.argsort(keys)
        keys = keys[order]
        same = next((i for i, other in enumerate(self._keys) if np.array_equal(keys, other)), None)
        if same is None:
            same = len(self._keys)
            self._keys.append(keys)
        inputs = tuple(dict.fromkeys(i for e in entries for i in e.inputs))
        place = {i: k for k, i in enumerate(inputs)}
        factors, offsets = np.zeros((2, len(inputs), len(entries)))
        needed = np.zeros((len(inputs), len(entries)), np.bool_)
        for row, it in enumerate(order.tolist()):
            e = entries[it]
            for i, factor, offset in zip(e.inputs, e.factors, e.offsets, strict=True):
                factors[place[i], row], offsets[place[i], row], needed[place[i], row] = factor, offset, True
        ends = np.array([entries[i].ends for i in order.tolist()], np.bool_)
        return _Column(name, same, inputs, factors, offsets, needed, ends)

    def sample(self, rows: int) -> dict[str, list[Any]]:
        """Devices and times of rows that are for the first devices, after each of the newest dates."""
        devices, since = self.devices[:3] or [""], self._since[-3:].tolist() or [0]
        return {
            DEVICE: [devices[row % len(devices)] for row in range(rows)],
            TIME: [since[row // len(devices) % len(since)] + row for row in range(rows)],
        }

    def run(
        self, fields: Sequence[Field], codes: Ints, times: Ints, numbers: Callable[[Field], Numbers]
    ) -> list[Corrected]:
        """What becomes of the n rows' fields. A field that is not in it stays.

        `codes` (n,): of each row's device, its place in `devices`, -1 for none. `times` (n,): its event_time,
        microseconds since 1970 UTC. `numbers(field)`: the raw values; asked for once each.
        """
        known = {f.name: f for f in fields if is_calibrated(f)}
        raw = {i: numbers(known[i]) for column in self._columns for i in column.inputs if i in known}
        first = codes * (len(self._since) + 1)
        wanted = first + np.searchsorted(self._since, times, side="right")
        found = []
        for keys in self._keys:
            place = np.searchsorted(keys, wanted, side="right") - 1
            found.append((place, (place >= 0) & (keys[place] >= first)))  # the one before may be another device's
        out = []
        for column in self._columns:
            if column.name in known:
                place, covered = found[column.keys]
                covered = covered & ~column.ends[place] & raw[column.name].present
                if covered.any():
                    out.append(column.corrected(known[column.name], place, covered, raw))
        return out


class _Column(NamedTuple):
    """How a field is made: a row for each device and date, in the order of its keys; (inputs, rows) each."""

    name: str
    keys: int  # which of the calibration's keys
    inputs: tuple[str, ...]
    factors: Floats
    offsets: Floats
    needed: Bools
    ends: Bools  # (rows,): whether it only ends what was valid before

    def corrected(self, field: Field, place: Ints, covered: Bools, raw: dict[str, Numbers]) -> Corrected:
        """What becomes of the `covered` rows, each by the row at its `place`."""
        counts = raw[self.name].counts
        # A list's items are corrected alone, each by the place of its row.
        of = place if counts is None else np.repeat(place, counts)
        total = np.zeros(len(of))
        usable = covered.copy()
        with np.errstate(over="ignore", invalid="ignore"):
            for i, name in enumerate(self.inputs):
                everywhere = bool(self.needed[i].all())
                if name not in raw or (raw[name].counts is None) != (counts is None) or (counts is not None and i):
                    usable &= ~self.needed[i][place]
                    continue
                numbers = raw[name].numbers
                term = self.factors[i][of] * (numbers - self.offsets[i][of])
                finite = _each_row(np.isfinite(numbers), counts)
                if not everywhere:
                    needed = self.needed[i]
                    term, finite = np.where(needed[of], term, 0.0), finite | ~needed[place]
                total = total + term if i else term
                usable &= finite
            made = total.astype(np.float32 if "float" in {field.kind, field.items} else np.float64)
        broken = usable & ~_each_row(np.isfinite(made), counts)
        return Corrected(field, made, counts, usable, covered & ~usable, broken)


def _each_row(good: Bools, counts: Ints | None) -> Bools:
    """Whether all numbers of each row are good."""
    if counts is None:
        return good
    sums = np.concatenate(([0], np.cumsum(good)))
    ends = np.cumsum(counts)
    full: Bools = sums[ends] - sums[ends - counts] == counts
    return full
