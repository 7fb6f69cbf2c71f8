"""Watches a service's Kafka clients from a thread of its own.

Says in /readyz when Kafka is away, whatever the main loop waits for, and ends the process when a client can't connect
any more, so that it is started again with a new one.

While all brokers are fenced, as after a machine was suspended, Kafka answers that there are none. librdkafka (since
2.10, seen with 2.16) then forgets the last broker, and such a client never connects again.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import HeadraceError
from headrace.runtime.health import Checks
from headrace.runtime.watcher import Watcher

log = logging.getLogger(__name__)

_EVERY_SECONDS = 5.0
_ANSWER_SECONDS = 1.0
_SEVERED_SECONDS = 15.0  # while other clients get answers
_LAST_SECONDS = 10.0  # for a last question: on a slow link, data that the client sends goes before its questions
_SILENT_SECONDS = 5.0  # without a message, until a consumer is asked
_AGAIN_SECONDS = 1.0  # until it is asked again that gave no answer
_PATIENCE_SECONDS = 3.0  # with that question
# What was found before that does not count: its thread does something else. A commit without a coordinator takes 10 s,
# the session time; and one such answer must not count for _SEVERED_SECONDS.
_STALE_SECONDS = 13.0


class Contact:
    """Whether a consumer gets answers, asked on the thread that reads with it: any other one would have to wait.

    confluent-kafka lets one thread in at a time. Others look each millisecond whether they may, as long as the first
    one waits for messages.
    """

    def __init__(self, client: kafka.Consumer) -> None:
        self._client, self._answers, self._asked = client, True, time.monotonic()

    def keep(self, heard: bool) -> None:
        """Called at each turn, with whether messages came. Asks where none have come for some time."""
        now = time.monotonic()
        if heard:
            self._answers, self._asked = True, now
        elif now - self._asked >= (_SILENT_SECONDS if self._answers else _AGAIN_SECONDS):
            self._asked = now  # while it waits for the answer, what was found before counts
            self._answers = _answered(self._client, _ANSWER_SECONDS if self._answers else _PATIENCE_SECONDS)
            self._asked = time.monotonic()

    @property
    def answers(self) -> bool:
        """Whether the last question was answered. Also true where that is long ago. Any thread may ask."""
        return self._answers or time.monotonic() - self._asked > _STALE_SECONDS


class KafkaWatch(Watcher):
    """Asks each of a service's Kafka clients, by name, every few seconds until the block ends; of a consumer that
    another thread reads with, give its Contact.

    A client that gets no answer for some time, while a new client does at once, is cut off: the process ends, as with
    Watcher. When Kafka is away, no client counts as cut off: the check `kafka_answers` of /readyz shows it, and /livez
    does not expect progress.
    """

    CHECK = "kafka_answers"

    def __init__(self, cfg: Kafka, health: Checks, clients: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__("kafka watch", _EVERY_SECONDS)
        self._cfg, self._health, self._clients = cfg, health, clients
        self._since: dict[str, float] = {}

    def look(self) -> str:
        """Ask each client once. Returns in words which one is cut off; empty when none is."""
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
        """Whether the client gets no answer while another client does. Sets the check."""
        if not _answered(client, _ANSWER_SECONDS):
            try:
                kafka.probe(self._cfg)
            except HeadraceError as e:
                self._health.ready(self.CHECK, False, str(e))
                # A commit that was under way when Kafka went away returns once Kafka is back, whatever its time-outs
                # are (seen: 130 s and more). A restart would not help: the main loop has its time again from then on.
                self._health.progress()
                return False
            return True
        self._health.ready(self.CHECK, True)
        return False


def _answered(client: Any, seconds: float) -> bool:
    if isinstance(client, Contact):
        return client.answers
    try:
        client.list_topics("__consumer_offsets", timeout=seconds)
    except kafka.KafkaException:
        return False
    return True
