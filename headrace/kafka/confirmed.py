"""Records that a command waits for until Kafka has them all. What services produce goes through their Emitter."""

import time
from collections.abc import Callable
from typing import Any

from headrace.errors import FatalError, TransientError
from headrace.kafka import client
from headrace.kafka.errors import translate

_FULL_SECONDS = 0.1  # of waiting, while the producer's queue has no room
_SLICE_SECONDS = 0.5


class Confirmed:
    """A producer, and what Kafka says of its records."""

    def __init__(self, producer: client.Producer, seconds: float = 60.0) -> None:
        """`seconds`: how long `flush` waits."""
        self._producer, self._seconds = producer, seconds
        self._failed: list[str] = []

    def produce(self, topic: str, stored: Callable[[client.Message], object] | None = None, **message: Any) -> None:
        """Produce a record; `stored` is called once Kafka has it. FatalError where it can't be produced."""

        def delivered(error: client.KafkaError | None, m: client.Message) -> None:
            if error is not None:
                self._failed.append(str(translate(error, f"producing to {topic}")))
            elif stored is not None:
                stored(m)

        while True:
            try:
                self._producer.produce(topic, on_delivery=delivered, **message)
            except BufferError:
                self._producer.poll(_FULL_SECONDS)
            except client.KafkaException as e:
                raise FatalError(str(translate(e, f"producing to {topic}"))) from None
            else:
                return

    def flush(self, remedy: str) -> None:
        """Return once Kafka has everything. TransientError, with `remedy`, where it takes too long.

        FatalError where Kafka has refused a record.
        """
        deadline = time.monotonic() + self._seconds
        while self._producer.flush(_SLICE_SECONDS):
            if time.monotonic() > deadline:
                raise TransientError(f"Kafka has not confirmed the records for {self._seconds:.0f} s. {remedy}")
        if self._failed:
            raise FatalError(f"Kafka refused {len(self._failed)} records, the first: {self._failed[0]}")
