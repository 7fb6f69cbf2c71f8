"""Messages that a device has sent and that have no receipt yet, and when each is sent again. No connection here."""

import heapq
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

FIRST_SECONDS, LAST_SECONDS = 5.0, 60.0  # before a message is sent again: doubled each time


@dataclass(slots=True)
class _Message:
    topic: str
    payload: bytes
    pause: float  # seconds until it is sent again, the next time


class Unreceipted:
    """Messages by number, which is their correlation data. A message stays until it is removed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.bytes = 0  # of the payloads
        self._clock = clock
        self._messages: dict[int, _Message] = {}
        self._due: list[tuple[float, int]] = []  # a heap: when, and which; also of messages that are gone
        self._last = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, topic: str, payload: bytes) -> int:
        """Add a message that is sent now. Returns its number."""
        self._last += 1
        self._messages[self._last] = _Message(topic, payload, FIRST_SECONDS)
        self.bytes += len(payload)
        heapq.heappush(self._due, (self._clock() + FIRST_SECONDS, self._last))
        return self._last

    def remove(self, number: int) -> tuple[str, bytes] | None:
        """Remove a message. Returns topic and payload; None when it was removed before."""
        found = self._messages.pop(number, None)
        if found is None:
            return None
        self.bytes -= len(found.payload)
        return found.topic, found.payload

    def due(self) -> Iterator[tuple[int, str, bytes]]:
        """Messages that are due to be sent again: number, topic, payload. Each is due again after twice the time."""
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            _, number = heapq.heappop(self._due)
            found = self._messages.get(number)
            if found is not None:
                found.pause = min(2 * found.pause, LAST_SECONDS)
                heapq.heappush(self._due, (now + found.pause, number))
                yield number, found.topic, found.payload
