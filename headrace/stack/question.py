"""A question that may never be answered, asked on a thread of its own, so that the asking thread is not stuck."""

import threading
import time
from collections.abc import Callable

POLL = 0.05


class Question(threading.Thread):
    """Calls `ask` at once. `error` is what it raised, once `answered` is true."""

    def __init__(self, ask: Callable[[], None]) -> None:
        super().__init__(name="question", daemon=True)
        self.error: Exception | None = None
        self._ask = ask
        self._began = time.monotonic()
        self._done = threading.Event()
        self.start()

    @property
    def age(self) -> float:
        """Seconds since it was asked."""
        return time.monotonic() - self._began

    def run(self) -> None:
        """Ask."""
        try:
            self._ask()
        except Exception as e:  # noqa: BLE001 - the asking thread looks at it
            self.error = e
        self._done.set()

    def answered(self, seconds: float, stop: threading.Event) -> bool:
        """Whether there is an answer. Waits `seconds` for it, but no longer than until `stop`."""
        until = time.monotonic() + seconds
        while not self._done.wait(POLL):
            if stop.is_set() or time.monotonic() > until:
                return self._done.is_set()
        return True
