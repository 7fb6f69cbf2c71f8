"""Asks Kafka for its topics now and then: is it there, and are the partitions still those of the start?"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

from headrace.errors import FatalError, TransientError
from headrace.runtime.health import Health

log = logging.getLogger(__name__)

_SECONDS = 5.0  # between two questions

Ask = Callable[[Iterable[str]], dict[str, int]]  # topics: the partition counts of those that Kafka has


class TopicWatch:
    """Keeps /readyz and the log informed of whether Kafka is there. `wanted`: the partitions that each topic had."""

    def __init__(self, wanted: Mapping[str, int], health: Health) -> None:
        self._wanted = wanted
        self._health = health
        self._well = True

    async def run(self, ask: Ask) -> NoReturn:
        """Ask for ever. FatalError: a topic has another number of partitions now."""
        while True:
            try:
                found = await asyncio.to_thread(ask, self._wanted)
                if missing := [t for t in self._wanted if t not in found]:
                    raise TransientError(f"Kafka does not list the topic {', '.join(missing)}")
            except TransientError as e:
                self._health.ready("kafka", ok=False, why=str(e))
                self.away(str(e))
            else:
                self._compare(found)
                self._health.ready("kafka", ok=True)
                if not self._well:
                    log.info("Kafka is back")
                self._well = True
            await asyncio.sleep(_SECONDS)

    def _compare(self, found: Mapping[str, int]) -> None:
        for topic, count in found.items():
            if count != self._wanted[topic]:
                raise FatalError(f"topic {topic} has {count} partitions now, and had {self._wanted[topic]}")

    def away(self, error: str) -> None:
        """Say once that Kafka is away. Its client also calls this, on its own thread."""
        if self._well:
            log.warning("Kafka is away: nothing is acknowledged until it is back", extra={"error": error})
        self._well = False
