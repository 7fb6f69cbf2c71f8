"""How far the rows of a stream of files are ahead of the lake: no more are sent while they are too far."""

import time

from headrace import kafka
from headrace.config import Config
from headrace.protocol.names import clean_topic, raw_topic

_SECONDS = 2.0  # between two looks at a partition


class Ahead:
    """Asks Kafka for the ends of a stream's logs and for what clean and the archive have committed there."""

    def __init__(self, config: Config, stream: str) -> None:
        self._most = config.derive.ahead
        self._readers = {raw_topic(stream): kafka.consumer(config.kafka, config.clean.group)}
        if clean_topic(stream) in config.archived:
            self._readers[clean_topic(stream)] = kafka.consumer(config.kafka, config.archive.group)
        self._looked: dict[int, float] = {}
        self._room: dict[int, bool] = {}

    def room(self, partition: int) -> bool:
        """Whether more rows may be sent to a partition. TransientError while Kafka is away."""
        now = time.monotonic()
        if now - self._looked.get(partition, -_SECONDS) >= _SECONDS:
            waiting = sum(_waiting(reader, topic, partition) for topic, reader in self._readers.items())
            self._looked[partition], self._room[partition] = now, waiting < self._most
        return self._room[partition]

    def close(self) -> None:
        """End the connections."""
        for reader in self._readers.values():
            reader.close()


def _waiting(reader: kafka.Consumer, topic: str, partition: int) -> int:
    """Records of a partition that the reader's group has not dealt with."""
    (committed, _), (low, high) = (
        kafka.committed(reader, [(topic, partition)])[topic, partition],
        kafka.watermarks(reader, topic, partition),
    )
    return high - (low if committed is None else max(low, committed))
