"""One partition of a Kafka topic, read from an offset to where it ended, outside any consumer group."""

from collections.abc import Iterator

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import TransientError

_POLL_SECONDS = 0.1  # consume() waits this long at the end of each partition
_GIVE_UP_SECONDS = 30.0


def reader(cfg: Kafka) -> kafka.Consumer:
    """A consumer for `read`; the caller closes it."""
    return kafka.consumer(cfg, "headrace-read", enable_partition_eof=True)


def read(
    client: kafka.Consumer,
    topic: str,
    partition: int,
    first: int | None = None,
    end: int | None = None,
    patience: float = _GIVE_UP_SECONDS,
) -> Iterator[kafka.Message]:
    """The records from offset `first` (None: all that are there) to before `end` (None: the present end), in order.

    TransientError where Kafka is away, or sends nothing for `patience` seconds.
    """
    low, high = kafka.watermarks(client, topic, partition)
    start = low if first is None else max(low, first)
    high = high if end is None else min(high, end)
    if start >= high:
        return
    client.assign([kafka.TopicPartition(topic, partition, start)])
    quiet = 0.0
    while True:
        messages = client.consume(1000, timeout=_POLL_SECONDS)
        quiet = 0.0 if messages else quiet + _POLL_SECONDS
        if quiet >= patience:
            raise TransientError(f"Kafka sent nothing of {topic}/{partition} for {patience:.0f} s")
        for m in messages:
            error = m.error()
            if error is not None:
                if error.name() == "_PARTITION_EOF":
                    return
                raise kafka.translate(error, f"reading {topic}/{partition}")
            if (m.offset() or 0) >= high:
                return
            yield m
            if m.offset() == high - 1:
                return
