"""Rows and dead letters into Kafka, in order, and the proof that Kafka has them."""

import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.deadletters import Letter
from headrace.errors import FatalError
from headrace.protocol.wire import Headers

_SLICE_SECONDS = 0.5
Row = tuple[bytes | None, bytes | None, Headers]  # key, value and headers of a record


class Emitter:
    """Produces in order. `flush` returns once Kafka has it all: nothing may be committed before.

    FatalError after any delivery that failed for good: its successors may be through, so a row is missing among them,
    and only a new start from the committed offset puts it right.
    """

    def __init__(self, cfg: Kafka, limits: Collection[int], waiting: Callable[[float], None]) -> None:
        """`limits`: max.message.bytes of the topics. A batch above its topic's limit would be refused whole.

        `waiting(seconds)` is called again and again while Kafka does not take what there is, for so long already.
        """
        self._waiting = waiting
        self._failed: list[str] = []
        self.producer = kafka.producer(cfg, **{"delivery.report.only.error": True, **kafka.sizes(limits)})

    def rows(self, topic: str, partition: int, rows: Iterable[Row]) -> None:
        """Produce rows, in order, to the partition of their source."""
        produce, failed = self.producer.produce, self._on_delivery
        for key, value, headers in rows:
            try:
                produce(topic, value, key, partition, failed, headers=headers)  # type: ignore[arg-type]  # a list is invariant
            except (BufferError, kafka.KafkaException):
                self._produce(topic, value=value, key=key, partition=partition, headers=headers)

    def letters(self, topic: str, letters: Iterable[Letter]) -> None:
        """Produce dead letters, each to the partition that its key chooses."""
        for letter in letters:
            self._produce(topic, value=letter.value, key=letter.key, headers=letter.headers)

    def flush(self) -> None:
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
