"""Ask every few seconds whether Kafka, the topics and the store are there, and tell /readyz."""

import logging
import time

from headrace.errors import HeadraceError
from headrace.runtime.health import Health
from headrace.runtime.watcher import Watcher
from headrace.store.base import ObjectStore
from processors.archive.lookup import Lookup

log = logging.getLogger(__name__)

_EVERY_SECONDS = 3.0
ANSWER_SECONDS = 2.0
_REPEAT_SECONDS = 30.0


class Watch(Watcher):
    """A thread that keeps the readiness checks true, from `with` to its end."""

    CHECKS = ("kafka", "topics", "store")

    def __init__(self, lookup: Lookup, store: ObjectStore, topics: list[str], health: Health) -> None:
        super().__init__("watch", _EVERY_SECONDS)
        self._lookup, self._store, self._topics, self._health = lookup, store, topics, health
        self._told: dict[str, float] = {}  # when the log last named a check that fails

    def look(self) -> str:
        """Ask each once. Returns "": nothing that it finds ends the process."""
        self._kafka()
        self._lake()
        return ""

    def _kafka(self) -> None:
        try:
            have = self._lookup.topics(ANSWER_SECONDS)
        except HeadraceError as e:
            self._tell("kafka", str(e))
            return
        self._tell("kafka")
        missing = [t for t in self._topics if t not in have]
        words = f"Kafka has no topic {', '.join(missing)} yet; `headrace provision` creates them"
        self._tell("topics", words if missing else "")

    def _lake(self) -> None:
        try:
            self._store.ensure_bucket()
        except HeadraceError as e:
            self._tell("store", str(e))
            return
        self._tell("store")

    def _tell(self, check: str, why: str = "") -> None:
        """Say what is wrong with a dependency; when `why` is empty, that it serves."""
        self._health.ready(check, not why, why)
        now = time.monotonic()
        if not why:
            if self._told.pop(check, None) is not None:
                log.info("there again", extra={"check": check})
        elif now - self._told.get(check, -_REPEAT_SECONDS) >= _REPEAT_SECONDS:
            self._told[check] = now
            log.warning("waiting", extra={"for": check, "error": why})
