"""Watches a service's Kafka clients from a thread of its own: tells /readyz when Kafka is away, whatever the main loop
waits for, and ends the process when a client has lost its way back, so that it is started with a new one.

While all of its brokers are fenced, as after a machine was suspended, Kafka answers that there are none. librdkafka
(since 2.10, seen with 2.16) forgets the last broker then, and such a client never connects again.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import HeadraceError
from headrace.health import Health
from headrace.watcher import Watcher

log = logging.getLogger(__name__)

_EVERY_SECONDS = 3.0
_ANSWER_SECONDS = 1.0
_SEVERED_SECONDS = 15.0  # with an answer for everybody else all the while
_LAST_SECONDS = 10.0  # for a last question: what a slow link has yet to send of a client goes before its questions


class KafkaWatch(Watcher):
    """Asks a service's Kafka clients, by name, every few seconds for as long as the block lasts.

    A client that gets no answer for some time, though a new one does at once, is severed: the process ends, as Watcher
    has it. Kafka's absence severs nobody: it shows as the check `kafka_answers` of /readyz.
    """

    CHECK = "kafka_answers"

    def __init__(self, cfg: Kafka, health: Health, clients: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__("kafka watch", _EVERY_SECONDS)
        self._cfg, self._health, self._clients = cfg, health, clients
        self._since: dict[str, float] = {}

    def look(self) -> str:
        """Ask each client once; in words, which one is severed. Empty while none is."""
        for name, client in self._clients().items():
            if not self._alone(client):
                self._since.pop(name, None)
            elif time.monotonic() - self._since.setdefault(name, time.monotonic()) < _SEVERED_SECONDS:
                continue
            elif _answered(client, _LAST_SECONDS):
                self._health.ready(self.CHECK, True)
                self._since.pop(name)
            else:
                log.error("severed from Kafka", extra={"client": name})
                return (
                    f"the Kafka client for {name} finds no broker, and a new one does: this process ends, to be "
                    "started again"
                )
        return ""

    def _alone(self, client: Any) -> bool:
        """Whether the client gets no answer where another does. Sets the check."""
        if not _answered(client, _ANSWER_SECONDS):
            try:
                kafka.probe(self._cfg)
            except HeadraceError as e:
                self._health.ready(self.CHECK, False, str(e))
                return False
            return True
        self._health.ready(self.CHECK, True)
        return False


def _answered(client: Any, seconds: float) -> bool:
    try:
        client.list_topics("__consumer_offsets", timeout=seconds)
    except kafka.KafkaException:
        return False
    return True
