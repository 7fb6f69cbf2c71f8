"""Kafka and the registry of contracts, as the publisher uses them."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from headrace import kafka
from headrace.config import Config
from headrace.contracts import files, lint
from headrace.errors import TransientError
from headrace.protocol.names import DEVICE_AUDIT, DEVICE_EVENTS, raw_topic
from headrace.protocol.wire import frame
from headrace.schema_registry.client import Registry
from hub import told
from hub.outbox import Row

log = logging.getLogger(__name__)

STREAMS = (DEVICE_EVENTS, DEVICE_AUDIT)
_SEND_SECONDS = 30.0
_POLL_SECONDS = 0.1


class KafkaSink:
    """A producer for the streams of hub. `identity`: of the database whose rows it sends."""

    def __init__(self, config: Config, identity: int) -> None:
        contracts = {s: lint.require(files.find(config.contract_of(s), config.contracts)) for s in STREAMS}
        topics = [raw_topic(s) for s in STREAMS]
        if missing := sorted(set(topics) - set(kafka.describe(config.kafka, topics))):
            raise TransientError(f"Kafka has no topic {', '.join(missing)} yet; `headrace provision` creates them")
        with Registry(config.registry) as registry:
            self._ids = {s: registry.register(f"{raw_topic(s)}-value", c) for s, c in contracts.items()}
        self._encode = {s: told.encoder(c) for s, c in contracts.items()}
        self._identity = identity
        self._producer = kafka.producer(config.kafka)
        log.info("publishing", extra={"topics": topics})

    def send(self, rows: Sequence[Row]) -> None:
        """As Sink has it."""
        done: list[kafka.KafkaError | None] = []
        try:
            for row in rows:
                self._produce(row, done)
        except (kafka.KafkaException, BufferError) as e:
            raise TransientError(f"the Kafka client refuses a message: {e}") from None
        end = time.monotonic() + _SEND_SECONDS
        while len(done) < len(rows):
            self._producer.poll(_POLL_SECONDS)
            if time.monotonic() > end:
                raise TransientError(f"Kafka has not taken {len(rows) - len(done):,} messages in {_SEND_SECONDS:.0f} s")
        for error in done:
            if error is not None:
                raise TransientError(f"Kafka refuses a message: {error.str()} ({error.name()})")

    def _produce(self, row: Row, done: list[kafka.KafkaError | None]) -> None:
        value = frame(self._ids[row.stream], self._encode[row.stream](told.reading(row)))
        headers: Any = told.headers(
            self._identity, row.number, row.payload["at"]
        )  # confluent-kafka's type is invariant
        self._producer.produce(
            raw_topic(row.stream), value, row.key.encode(), headers=headers,
            on_delivery=lambda error, _: done.append(error),
        )  # fmt: skip

    def close(self) -> None:
        """As Sink has it. What Kafka gets all the same are repeats."""
        self._producer.purge()
        self._producer.poll(0)
