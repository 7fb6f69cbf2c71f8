"""Times as the clock on the wall showed them, in a zone, as UTC: also where the wall shows an hour twice, or never.

When clocks go back, an hour occurs twice, and its times alone do not say which they are: the order of the rows does.
Each takes the first hour unless that lies before the row above it. When clocks go forward, an hour does not occur: a
time in it is no time.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from headrace.errors import ConfigError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_HOUR = 3_600_000_000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - of the clock on the wall


def zone_of(name: str) -> ZoneInfo:
    """The zone of the IANA name. ConfigError where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"{name!r} is no time zone. Write one of the IANA database, such as Europe/Berlin") from None


class LocalTimes:
    """Turns local times into UTC, in the order of a file's rows. One object for each sequence of rows."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._before: int | None = None  # the time of the row above, UTC
        self._offsets: dict[int, int | None] = {}  # of local hours; None: the clocks change in it

    def utc(self, local: Ints, there: Bools) -> tuple[Ints, Bools]:
        """(UTC, which of them exist) of local times, microseconds since 1970, those that are `there`, in order."""
        hours, index = np.unique(local[there] // _HOUR, return_inverse=True)
        offsets = [self._offset(hour) for hour in hours.tolist()]
        odd = np.zeros_like(there)
        out, exists = local.copy(), there.copy()
        if len(hours):
            odd[there] = np.array([offset is None for offset in offsets])[index]
            out[there] -= np.array([offset or 0 for offset in offsets], np.int64)[index]
        if odd.any():
            self._in_order(local, out, exists, odd)
        good = np.flatnonzero(exists)
        if len(good):
            self._before = int(out[good[-1]])
        return out, exists

    def _in_order(self, local: Ints, out: Ints, exists: Bools, odd: Bools) -> None:
        """Settle the rows of hours in which the clocks change, one by one; all others are settled."""
        above = np.maximum.accumulate(np.where(exists & ~odd, np.arange(len(odd)), -1))  # the last that was
        last, before = -1, self._before
        for row in np.flatnonzero(odd).tolist():
            if above[row] > last:
                last, before = int(above[row]), int(out[above[row]])
            early, late = self._both(int(local[row]))
            if early is None or late is None:
                exists[row] = False
                continue
            before = late if before is not None and early < before <= late else early
            out[row], last = before, row

    def _offset(self, hour: int) -> int | None:
        if hour not in self._offsets:
            ends = (hour * _HOUR, (hour + 1) * _HOUR - 1)
            found = {None if utc is None else end - utc for end in ends for utc in self._both(end)}
            self._offsets[hour] = found.pop() if len(found) == 1 else None
        return self._offsets[hour]

    def _both(self, local: int) -> tuple[int | None, int | None]:
        """The two UTC times that a local time may be: the same twice as a rule, None where it does not exist."""
        wall = _EPOCH + timedelta(microseconds=local)
        out = []
        for fold in (0, 1):
            aware = wall.replace(tzinfo=self._zone, fold=fold)
            utc = aware.astimezone(UTC)
            same = utc.astimezone(self._zone).replace(tzinfo=None) == wall
            out.append((utc.replace(tzinfo=None) - _EPOCH) // timedelta(microseconds=1) if same else None)
        return out[0], out[1]
