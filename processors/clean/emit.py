"""Out of clean: rows to `<stream>.clean`, refused ones to the dead letters, and the proof that Kafka has them."""

import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from headrace import deadletters, kafka
from headrace.config import Config
from headrace.deadletters import Letter
from headrace.errors import FatalError
from headrace.wire import Headers

_SLICE_SECONDS = 0.5


class Emitter:
    """Produces in order. `settle` tells whether Kafka has it all: nothing may be committed before.

    FatalError after any delivery that failed for good: its successors may be through, so the row is missing in their
    midst, and only a new start from the committed offset puts it right.
    """

    def __init__(self, config: Config, limits: Collection[int], waiting: Callable[[float], None]) -> None:
        """`limits` are the max.message.bytes of the topics: a batch above its topic's would be refused whole.

        `waiting(seconds)` is called again and again while Kafka does not take what there is, for so long already.
        """
        self._waiting = waiting
        self._letters = config.dead_letters.topic
        self._failed: list[str] = []
        sizes = kafka.sizes([*limits, deadletters.max_letter_bytes(config)])
        self.producer = kafka.producer(config.kafka, **{"delivery.report.only.error": True, **sizes})

    def rows(self, topic: str, partition: int, rows: Iterable[tuple[bytes | None, bytes | None, Headers]]) -> None:
        """Cleaned rows (key, value, headers), in order, to the partition that their raw messages have."""
        produce, failed = self.producer.produce, self._on_delivery
        for key, value, headers in rows:
            try:
                produce(topic, value, key, partition, failed, headers=headers)  # type: ignore[arg-type]  # a list is invariant
            except (BufferError, kafka.KafkaException):
                self._produce(topic, value=value, key=key, partition=partition, headers=headers)

    def letter(self, letter: Letter) -> None:
        """A dead letter."""
        self._produce(self._letters, value=letter.value, key=letter.key, headers=letter.headers)

    def settle(self) -> None:
        """Return once Kafka has everything."""
        start = time.monotonic()
        while self.producer.flush(_SLICE_SECONDS) > 0:
            self._check()
            self._waiting(time.monotonic() - start)
        self._check()

    def _produce(self, topic: str, **message: Any) -> None:
        start = time.monotonic()
        while True:
            try:
                self.producer.produce(topic, on_delivery=self._on_delivery, **message)
            except BufferError:  # the producer's queue is full: make room
                self.producer.poll(0.05)
                self._check()
                self._waiting(time.monotonic() - start)
            except kafka.KafkaException as e:
                raise FatalError(str(kafka.translate(e, f"producing to {topic}"))) from None
            else:
                return

    def _on_delivery(self, error: kafka.KafkaError | None, message: kafka.Message) -> None:
        if error is not None:
            where = f"{message.topic()}/{message.partition()}"
            self._failed.append(str(kafka.translate(error, f"producing to {where}")))

    def _check(self) -> None:
        if self._failed:
            raise FatalError(f"{len(self._failed)} records were refused, the first: {self._failed[0]}")
