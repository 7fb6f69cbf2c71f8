"""Commits with metadata beside the offset. The guarantees rest on its coming back, and not every broker keeps it."""

from headrace import kafka
from headrace.errors import FatalError


class Commits:
    """Commits for one consumer; the first one is read back."""

    def __init__(self, consumer: kafka.Consumer) -> None:
        self._consumer = consumer
        self._proven = False

    def commit(self, topic: str, partition: int, offset: int, metadata: str) -> None:
        """Commit one partition's offset. TransientError: the same call again.

        FatalError where the broker does not keep metadata.
        """
        kafka.commit(self._consumer, topic, partition, offset, metadata)
        if self._proven:
            return
        found = kafka.committed(self._consumer, [(topic, partition)])[topic, partition]
        if found != (offset, metadata):
            raise FatalError(
                f"{topic}/{partition}: committed was {offset} with {metadata!r}, and Kafka has {found[0]} with "
                f"{found[1]!r}. Without the metadata of offsets nothing is certain after a crash: this broker can't be "
                "used"
            )
        self._proven = True
