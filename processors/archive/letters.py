"""Write the archive's dead letters: Kafka has them before their batch counts as stored."""

import threading
from collections.abc import Sequence

from headrace import deadletters, kafka
from headrace.config import Config
from headrace.deadletters import Stage
from headrace.errors import TransientError
from headrace.protocol.names import stream_of
from headrace.runtime.metrics import DEAD_LETTERS
from headrace.store.base import ObjectStore
from processors.archive.plan import DeadRow
from processors.group.token import Token

_AT_ONCE = 1000
_AT_ONCE_BYTES = 32 * 1024 * 1024  # the Kafka client's queue has room for more


class Letters:
    """Writes dead letters. Any thread may use it; they take turns."""

    def __init__(self, config: Config, store: ObjectStore) -> None:
        self._config = config
        self._store = store
        self._lock = threading.Lock()
        self.producer: kafka.Producer | None = None

    def write(self, token: Token, topic: str, rows: tuple[DeadRow, ...]) -> None:
        """Write a dead letter for each row of a topic, and return once Kafka has them all.

        Revoked once the token is void; TransientError where Kafka refuses one.
        """
        with self._lock:
            part: list[DeadRow] = []
            size = 0
            for row in rows:
                if part and (len(part) == _AT_ONCE or size + len(row.value) > _AT_ONCE_BYTES):
                    self._write(token, topic, part)
                    part, size = [], 0
                part.append(row)
                size += len(row.value)
            self._write(token, topic, part)

    def _connect(self) -> kafka.Producer:
        return kafka.producer(self._config.kafka, **kafka.sizes([deadletters.max_letter_bytes(self._config)]))

    def _write(self, token: Token, topic: str, rows: Sequence[DeadRow]) -> None:
        producer = self.producer = self.producer or self._connect()
        failed: list[kafka.KafkaError] = []

        def delivered(error: kafka.KafkaError | None, _message: kafka.Message) -> None:
            if error is not None:
                failed.append(error)

        for row in rows:
            made = deadletters.letter(
                row.error,
                row.value,
                stage=Stage.ARCHIVE,
                stream=stream_of(topic),
                source=row.source,
                original=row.headers,
            )
            it = deadletters.shelve(self._config, made, self._store.put)
            producer.produce(
                self._config.dead_letters.topic, it.value, key=it.key, headers=list(it.headers), on_delivery=delivered
            )
        while producer.flush(1.0):
            token.check()
        if failed:
            self.producer = None  # an idempotent producer that has failed does not recover
            raise TransientError(str(kafka.translate(failed[0], f"writing to {self._config.dead_letters.topic}")))
        for row in rows:
            DEAD_LETTERS.labels(Stage.ARCHIVE, stream_of(topic), row.error.reason).inc()
