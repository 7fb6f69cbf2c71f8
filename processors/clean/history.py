"""The values of one field in the last L offsets of a partition, by device: what the device's reading before was."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from processors.arrays import Bools, Ints

COLUMNS = ("device", "time", "offset", "value")  # text; microseconds since 1970 UTC; raw offset; a number
NEVER = -(2**62)


class _Newest(NamedTuple):
    """Of a device's readings, the one that is latest by time; of several at one time, the last in the log."""

    time: int
    offset: int
    value: Any
    last: int  # the device's last offset, which may be that of an earlier time


_NONE = _Newest(-(2**63), NEVER, None, NEVER)


class History:
    """Values of one field, as frames with COLUMNS, in the order of the log.

    The reading before another is the device's latest by time (of several at one time, the last in the log) among those
    at the `length` offsets before it that are not later than it. It counts when readings were taken, not when they
    came: a copy of an old reading, or one that comes late, does not stand between newer ones.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._rows: pl.DataFrame | None = None
        self._newest: dict[str, _Newest] = {}
        self._pruned = NEVER
        self.end = NEVER  # one past the last offset

    def before(self, rows: pl.DataFrame, wanted: Bools) -> pl.DataFrame:
        """`before`: the value of the reading before each of the n `rows`, which follow all added; null without one.

        `wanted` (n,): for which rows the answer is needed. For the others it may be null.
        """
        if rows.is_empty():
            return rows.select(before="value")
        # Each device's rows in the order of the log, after a head that stands for all that was added of it.
        groups = rows.select("device").with_row_index("row").group_by("device", maintain_order=True).agg("row")
        devices, order = groups["device"].to_list(), groups["row"].explode().to_numpy()
        heads = [self._newest.get(device, _NONE) for device in devices]
        group, is_head = layout(groups["row"].list.len().to_numpy())
        times, offsets, last = np.empty((3, len(group)), np.int64)
        times[is_head], times[~is_head] = [h.time for h in heads], rows["time"].to_numpy()[order]
        offsets[is_head], offsets[~is_head] = [h.offset for h in heads], rows["offset"].to_numpy()[order]
        last[is_head], last[~is_head] = [h.last for h in heads], offsets[~is_head]

        newest, leads = _running_newest(group, times)
        rest = np.flatnonzero(~is_head)
        found = newest[rest - 1]  # the latest by time of those before it in the log
        reach = offsets[rest] - self._length
        near = offsets[found] >= reach
        exact = leads[rest] & (near | (last[rest - 1] < reach))  # else a reading that is not the latest may be it
        exact |= ~wanted[order]

        place = np.where(is_head, group, 0)  # of each value in `values`: heads first, then the rows
        place[~is_head] = len(heads) + order
        values = pl.concat([pl.Series("value", [h.value for h in heads], rows["value"].dtype), rows["value"]])
        chosen = np.full(len(order), -1)
        chosen[order[exact & near]] = place[found[exact & near]]
        out = values.gather(pl.Series(chosen).replace(-1, None))
        if not exact.all():
            out = self._search(rows, np.sort(order[~exact]), out)
        return out.to_frame("before")

    def add(self, rows: pl.DataFrame) -> None:
        """Remember these rows, which follow all that were added before."""
        if rows.is_empty():
            return
        rows = rows.select(COLUMNS)
        self._rows = rows if self._rows is None else self._rows.vstack(rows)
        self.end = rows["offset"][-1] + 1
        if self.end - self._pruned <= self._length // 4:
            self._note(rows)
            return
        self._pruned = self.end
        self._rows = self._rows.filter(pl.col("offset") >= self.end - self._length).rechunk()
        self._newest = {}
        self._note(self._rows)

    def kept(self) -> pl.DataFrame | None:
        """The rows that are remembered; None if there are none."""
        return self._rows

    def _note(self, rows: pl.DataFrame) -> None:
        by_device = rows.sort("time", "offset").group_by("device").agg(
            pl.col("time", "offset", "value").last(), pl.col("offset").max().alias("last")
        )  # fmt: skip
        for device, time, offset, value, last in by_device.rows():
            old = self._newest.get(device, _NONE)
            new = _Newest(time, offset, value, last)
            self._newest[device] = new if time >= old.time else old._replace(last=last)

    def _search(self, rows: pl.DataFrame, wanted: Ints, out: pl.Series) -> pl.Series:
        """`out` with the answers for the `wanted` rows, found among all readings of their devices."""
        asked = rows.select(COLUMNS)[wanted]
        of_these = pl.col("device").is_in(asked["device"].unique().implode())
        kept = [rows.select(COLUMNS)] if self._rows is None else [self._rows, rows.select(COLUMNS)]
        readings = pl.concat([part.filter(of_these) for part in kept]).sort("device", "time", "offset")
        counts = readings.group_by("device", maintain_order=True).len()
        ends = counts["len"].cum_sum().to_list()
        place = {device: (end - n, end) for (device, n), end in zip(counts.rows(), ends, strict=True)}
        times, offsets = readings["time"].to_numpy(), readings["offset"].to_numpy()
        found = []
        for device, time, offset, _ in asked.rows():
            first, end = place[device]
            until = first + int(np.searchsorted(times[first:end], time, side="right"))
            found.append(_last_within(offsets, first, until, offset - self._length, offset))
        return out.scatter(wanted, readings["value"].gather(pl.Series(found, dtype=pl.Int64)))


def _last_within(offsets: Ints, first: int, end: int, low: int, high: int) -> int | None:
    """The last place in [first, end) with an offset in [low, high); None if there is none."""
    size = 32
    while end > first:
        begin = max(first, end - size)
        hits = np.flatnonzero((offsets[begin:end] >= low) & (offsets[begin:end] < high))
        if len(hits):
            return begin + int(hits[-1])
        end, size = begin, 8 * size
    return None


def layout(sizes: npt.NDArray[Any]) -> tuple[Ints, Bools]:
    """(the group of each place, whether it is a head), for groups of these sizes, each after its head."""
    group = np.repeat(np.arange(len(sizes)), sizes + 1)
    is_head = np.zeros(len(group), np.bool_)
    is_head[np.cumsum(sizes + 1) - (sizes + 1)] = True
    return group, is_head


def _running_newest(group: Ints, times: Ints) -> tuple[Ints, Bools]:
    """(where the latest time of the group stands, up to each place; whether it stands at that place)."""
    rank = np.unique(times, return_inverse=True)[1]
    key = group * (len(group) + 1) + rank  # grows from group to group: the running maximum begins anew in each
    leads = key == np.maximum.accumulate(key)
    return np.maximum.accumulate(np.where(leads, np.arange(len(group)), 0)), leads
