"""How much one device may ask for: so many requests a second in the long run, and a few at the same time."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bridge.ingest.refusal import RefusedError
from headrace.runtime.attempts import remember

_BURST_SECONDS = 2.0  # of the rate, at once
AT_ONCE = 8  # requests of one device


class Floods:
    """Counts the requests of each device. For use on one thread."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = per_second, max(1.0, per_second * _BURST_SECONDS), clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # by device: requests, at what time
        self._open: dict[str, int] = {}

    @contextmanager
    def request(self, device: str) -> Iterator[None]:
        """A request of the device, as long as the block lasts. RefusedError (429): too many."""
        now = self._clock()
        left, at = self._left.get(device, (self._most, now))
        left = min(self._most, left + (now - at) * self._rate)
        if left < 1:
            again = (1 - left) / self._rate
            raise RefusedError(
                429, f"{device} sends more than {self._rate:g} requests a second. Send less often", again
            )
        if self._open.get(device, 0) >= AT_ONCE:
            raise RefusedError(429, f"{device} has {AT_ONCE} requests under way. Wait for their answers", 1.0)
        remember(self._left, device, (left - 1, now))
        self._open[device] = self._open.get(device, 0) + 1
        try:
            yield
        finally:
            self._open[device] -= 1
            if not self._open[device]:
                del self._open[device]
