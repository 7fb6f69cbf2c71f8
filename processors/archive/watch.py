"""Whether Kafka, the topics and the store are there, asked every few seconds, for /readyz."""

import threading
from types import TracebackType
from typing import Self

from headrace.errors import HeadraceError
from headrace.health import Health
from headrace.store.base import ObjectStore
from processors.archive.find import Positions

_EVERY_SECONDS = 5.0
_ANSWER_SECONDS = 4.0


class Watch:
    """A thread that keeps the readiness checks true to the world."""

    CHECKS = ("kafka", "topics", "store")

    def __init__(self, positions: Positions, store: ObjectStore, topics: list[str], health: Health) -> None:
        self._positions, self._store, self._topics, self._health = positions, store, topics, health
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._kafka()
            self._lake()
            if self._stop.wait(_EVERY_SECONDS):
                return

    def _kafka(self) -> None:
        try:
            have = self._positions.topics(_ANSWER_SECONDS)
        except HeadraceError as e:
            self._health.ready("kafka", False, str(e))
            return
        self._health.ready("kafka", True)
        missing = [t for t in self._topics if t not in have]
        self._health.ready("topics", not missing, f"not there yet: {', '.join(missing)}")

    def _lake(self) -> None:
        try:
            self._store.ensure_bucket()
        except HeadraceError as e:
            self._health.ready("store", False, str(e))
            return
        self._health.ready("store", True)
