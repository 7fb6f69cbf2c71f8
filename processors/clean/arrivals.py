"""The values of one field as they arrived: what the device's last one was, and for how long it has been the same."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from processors.arrays import Bools, Ints
from processors.clean.history import COLUMNS, NEVER, layout


class _Run(NamedTuple):
    """A device's readings with one value, without another between them, up to its last."""

    value: Any
    readings: int
    time: int  # of its first reading
    first: int  # offset of its first reading, as far as it is known
    last: int  # offset of its last


_NONE = _Run(0, 0, 0, NEVER, NEVER)


class _Runs(NamedTuple):
    """The runs that a frame of rows belongs to: columns of one element a row, device by device."""

    order: Ints  # which row
    devices: list[str]
    ends: Ints  # of each device, the place of its last row
    linked: Bools  # whether the device's reading before is within reach
    last: npt.NDArray[Any]  # its value
    readings: Ints
    time: Ints
    first: Ints


class Arrivals:
    """Values of one field, as frames with `history.COLUMNS`, in the order of the log.

    What it says of a reading depends on the device's readings at the `length` offsets before it, on nothing else.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._rows: pl.DataFrame | None = None
        self._runs: dict[str, _Run] = {}
        self._pruned = NEVER
        self.end = NEVER  # one past the last offset

    def before(self, rows: pl.DataFrame, _: Bools) -> pl.DataFrame:
        """Of each of the n `rows`, which follow all that were added:

        `last`, the value in the device's reading that arrived before it; null without one. `same`, how many of the
        device's readings in a row, with this one, have its value. `lasted`, microseconds by `time` since the first of
        those. Those that lie more than `length` offsets back count for nothing.
        """
        if rows.is_empty():
            none = pl.Series([], dtype=pl.Int64)
            return pl.DataFrame({"last": rows["value"], "same": none, "lasted": none})
        it = self._of(rows)
        times, offsets = rows["time"].to_numpy()[it.order], rows["offset"].to_numpy()[it.order]
        same, since = it.readings.copy(), it.time.copy()
        far = np.flatnonzero(it.first < offsets - self._length)  # the run began out of reach: count what is within
        if len(far):
            same[far], since[far] = self._within(rows, it.order[far])
        back = np.argsort(it.order)
        last = pl.Series(it.last[back], dtype=rows["value"].dtype)
        return pl.DataFrame({
            "last": pl.select(pl.when(pl.Series(it.linked[back])).then(last)).to_series(),
            "same": same[back],
            "lasted": (times - since)[back],
        })  # fmt: skip

    def add(self, rows: pl.DataFrame) -> None:
        """Remember these rows, which follow all that were added before."""
        if rows.is_empty():
            return
        it = self._of(rows)
        offsets = rows["offset"].to_numpy()[it.order]
        columns = [
            a[it.ends].tolist() for a in (rows["value"].to_numpy()[it.order], it.readings, it.time, it.first, offsets)
        ]
        self._runs.update(zip(it.devices, map(_Run, *columns), strict=True))
        rows = rows.select(COLUMNS)
        self._rows = rows if self._rows is None else self._rows.vstack(rows)
        self.end = int(rows["offset"][-1]) + 1
        if self.end - self._pruned > self._length // 4:
            self._pruned = self.end
            self._rows = self._rows.filter(pl.col("offset") >= self.end - self._length).rechunk()
            self._runs = {d: run for d, run in self._runs.items() if run.last >= self.end - self._length}

    def kept(self) -> pl.DataFrame | None:
        """The rows that are remembered; None if there are none."""
        return self._rows

    def _of(self, rows: pl.DataFrame) -> _Runs:
        """Each device's rows after a head that stands for its run so far."""
        groups = rows.select("device").with_row_index("row").group_by("device", maintain_order=True).agg("row")
        devices, order = groups["device"].to_list(), groups["row"].explode().to_numpy().astype(np.int64)
        heads = [self._runs.get(device, _NONE) for device in devices]
        group, is_head = layout(groups["row"].list.len().to_numpy())
        rest = ~is_head
        values = np.empty(len(group), rows["value"].to_numpy().dtype)
        times, offsets = np.empty((2, len(group)), np.int64)
        values[is_head], values[rest] = [h.value for h in heads], rows["value"].to_numpy()[order]
        times[is_head], times[rest] = [h.time for h in heads], rows["time"].to_numpy()[order]
        offsets[is_head], offsets[rest] = [h.last for h in heads], rows["offset"].to_numpy()[order]

        place = np.arange(len(group))
        linked = np.zeros(len(group), np.bool_)
        linked[1:] = offsets[:-1] >= offsets[1:] - self._length
        begins = is_head | ~linked
        begins[1:] |= values[1:] != values[:-1]
        start = np.maximum.accumulate(np.where(begins, place, 0))
        counted = np.where(is_head, 0, 1)
        counted[is_head] = [h.readings for h in heads]
        first = offsets.copy()
        first[is_head] = [h.first for h in heads]
        at = np.flatnonzero(rest)
        ends = np.cumsum(groups["row"].list.len().to_numpy().astype(np.int64)) - 1
        count = counted[start[at]] + at - start[at]
        return _Runs(order, devices, ends, linked[at], values[at - 1], count, times[start[at]], first[start[at]])

    def _within(self, rows: pl.DataFrame, wanted: Ints) -> tuple[Ints, Ints]:
        """(count, time of the first) of the device's readings within reach of each `wanted` row, with that row."""
        asked = rows[wanted]
        of_these = pl.col("device").is_in(asked["device"].unique().implode())
        kept = [rows.select(COLUMNS)] if self._rows is None else [self._rows, rows.select(COLUMNS)]
        found = pl.concat([part.filter(of_these).select("device", "time", "offset") for part in kept])
        found = found.with_columns(pl.col("device").rank("dense").cast(pl.Int64).alias("code"))
        lowest = int(found["offset"][0])  # the log's order
        span = int(found["offset"][-1]) - lowest + self._length + 2
        found = found.sort("code", "offset")
        keys = found["code"].to_numpy() * span + (found["offset"].to_numpy() - lowest)
        codes = dict(zip(found["device"], found["code"], strict=True))
        code = np.array([codes[d] for d in asked["device"]], np.int64)
        near = asked["offset"].to_numpy() - lowest
        begin = np.searchsorted(keys, code * span + np.maximum(near - self._length, 0))
        end = np.searchsorted(keys, code * span + near)
        return end - begin + 1, found["time"].to_numpy()[begin]
