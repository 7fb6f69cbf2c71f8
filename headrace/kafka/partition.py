"""Partitions of Kafka topics, read from an offset to where they ended, outside any consumer group."""

from collections.abc import Iterator, Mapping

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import TransientError

_POLL_SECONDS = 0.1  # consume() waits this long at the end of each partition
_GIVE_UP_SECONDS = 30.0


def reader(cfg: Kafka) -> kafka.Consumer:
    """A consumer for `read` and `read_many`; the caller closes it."""
    return kafka.consumer(cfg, "headrace-read", enable_partition_eof=True)


def read(
    client: kafka.Consumer,
    topic: str,
    partition: int,
    first: int | None = None,
    end: int | None = None,
) -> Iterator[kafka.Message]:
    """The records from offset `first` (None: all that are there) to before `end` (None: the present end), in order.

    TransientError while Kafka is away, or if it sends nothing for half a minute.
    """
    low, high = kafka.watermarks(client, topic, partition)
    start = low if first is None else max(low, first)
    high = high if end is None else min(high, end)
    yield from read_many(client, {(topic, partition): (start, high)})


def read_many(
    client: kafka.Consumer, spans: Mapping[tuple[str, int], tuple[int, int]], patience: float = _GIVE_UP_SECONDS
) -> Iterator[kafka.Message]:
    """The records of each (topic, partition) from its first offset to before its end, both within its log.

    The records of one partition come in order; those of several come mixed. TransientError while Kafka is away, or if
    it sends nothing for `patience` seconds.
    """
    left = {partition: end for partition, (first, end) in spans.items() if first < end}
    if not left:
        return
    here = [kafka.TopicPartition(*partition, spans[partition][0]) for partition in left]
    client.assign(here)
    client.resume(here)  # a pause outlives the assignment that it was made under
    quiet = 0.0
    while left:
        messages = client.consume(1000, timeout=_POLL_SECONDS)
        quiet = 0.0 if messages else quiet + _POLL_SECONDS
        if quiet >= patience:
            (topic, number), more = next(iter(left)), len(left) - 1
            others = f" and of {more} other partitions" if more else ""
            raise TransientError(f"Kafka sent nothing of {topic}/{number}{others} for {patience:.0f} s")
        for m in messages:
            partition = (m.topic() or "", m.partition() or 0)
            end = left.get(partition)
            if end is None:
                continue
            error, offset = m.error(), m.offset() or 0
            if error is not None and error.name() != "_PARTITION_EOF":
                raise kafka.translate(error, f"reading {partition[0]}/{partition[1]}")
            if error is None and offset < end:
                yield m
            if error is not None or offset >= end - 1:
                del left[partition]
                if left:
                    client.pause([kafka.TopicPartition(*partition)])
