"""A limit on wrong logins from one address."""

import threading
import time
from collections import OrderedDict
from typing import Any

MOST, SECONDS = 10, 60.0  # wrong ones from one address in that time
_REMEMBERED = 10_000  # addresses, or whatever else strangers can make up


class Attempts:
    """Counts wrong logins by address. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # by address: how many, since when

    def wait(self, address: str) -> float:
        """For how many seconds whoever logs in wrongly from the address has to wait; 0 as long as it was not often."""
        with self._lock:
            count, since = self._wrong.get(address, (0, 0.0))
            return 0.0 if count < MOST else max(0.0, since + SECONDS - time.monotonic())

    def count(self, address: str) -> None:
        """A login from the address was wrong."""
        with self._lock:
            count, since = self._wrong.get(address, (0, 0.0))
            now = time.monotonic()
            fresh = count == 0 or now - since > SECONDS
            remember(self._wrong, address, (1, now) if fresh else (count + 1, since))


def remember(store: "OrderedDict[Any, Any]", key: object, value: object) -> None:
    """Keep a value, and forget the one that was not touched for longest when there are too many."""
    store[key] = value
    store.move_to_end(key)
    if len(store) > _REMEMBERED:
        store.popitem(last=False)
