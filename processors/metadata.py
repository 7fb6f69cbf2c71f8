"""Whether the broker keeps what is committed beside an offset. The guarantees rest on it, and not every broker does."""

from headrace import kafka
from headrace.errors import FatalError


def prove(consumer: kafka.Consumer, topic: str, partition: int, offset: int, metadata: str) -> None:
    """FatalError where what was just committed does not come back whole. TransientError while Kafka is away."""
    found = kafka.committed(consumer, [(topic, partition)])[topic, partition]
    if found != (offset, metadata):
        raise FatalError(
            f"{topic}/{partition}: committed was {offset} with {metadata!r}, and Kafka has {found[0]} with "
            f"{found[1]!r}. Without the metadata of offsets nothing is certain after a crash: this broker can't be used"
        )
