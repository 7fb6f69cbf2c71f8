"""A thread that looks at something every few seconds. Its end never goes unnoticed."""

import logging
import os
import signal
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from headrace.errors import FatalError, HeadraceError

log = logging.getLogger(__name__)


class Watcher(ABC):
    """Looks every few seconds until the `with` block ends.

    When a look finds that the process must end, or fails by itself, the process gets SIGTERM and finishes what it can;
    the block then ends with FatalError (exit code 1).
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds = name, seconds
        self._ends = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def look(self) -> str:
        """Why the process must end; empty when it need not end."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self._ends and not isinstance(error, HeadraceError):
            raise FatalError(self._ends) from error

    def _run(self) -> None:
        while not self._ends:
            try:
                self._ends = self.look()
            except Exception as e:
                log.exception("a watch failed", extra={"watch": self._name})
                self._ends = f"the {self._name} failed: {e!r}"
            if not self._ends and self._stop.wait(self._seconds):
                return
        os.kill(os.getpid(), signal.SIGTERM)
