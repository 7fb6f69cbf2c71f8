"""Work that one hub does at a time: the one that holds a lock of the database, on a thread of its own."""

import logging
import threading
from collections.abc import Callable

from headrace.errors import HeadraceError
from headrace.runtime.backoff import pauses
from hub.database import Database, Lead

log = logging.getLogger(__name__)

_STANDBY_SECONDS = 2.0  # between two attempts to get the lock


class Leader(threading.Thread):
    """Calls `work(lead, halt)` while this process holds the lock, until `halt`; again, after a pause, when it raises.

    `report` is told in words what is wrong, and "" when all is well.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        lock: int,
        work: Callable[[Lead, threading.Event], None],
        report: Callable[[str], None],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._database, self._lock, self._work, self._report = database, lock, work, report
        self._halt = threading.Event()

    def halt(self) -> None:
        """Come to an end. `join` waits for it."""
        self._halt.set()

    def run(self) -> None:
        """The life of the thread."""
        waits = pauses()
        while not self._halt.is_set():
            try:
                with self._database.lead(self._lock) as lead:
                    if self._got(lead):
                        self._work(lead, self._halt)
                        waits = pauses()
            except HeadraceError as e:
                pause = next(waits)
                self._report(str(e))
                log.warning("waiting", extra={"for": self.name, "error": str(e), "again_in_seconds": round(pause, 1)})
                self._halt.wait(pause)

    def _got(self, lead: Lead) -> bool:
        """Wait for the lock. False when told to end first."""
        while not lead.held():
            self._report("")
            if self._halt.wait(_STANDBY_SECONDS):
                return False
        return True
