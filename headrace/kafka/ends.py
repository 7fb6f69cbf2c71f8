"""Where the logs of many partitions begin and end, asked of Kafka in two questions, however many there are."""

from collections.abc import Collection

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.kafka.client import CALL_SECONDS


def log_ends(cfg: Kafka, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
    """`ends_of`, asked with a client of its own."""
    client = kafka.admin(cfg)  # kept until the answers are here: they go with it
    return ends_of(client, partitions)


def ends_of(
    client: kafka.AdminClient, partitions: Collection[tuple[str, int]]
) -> dict[tuple[str, int], tuple[int, int]]:
    """(first offset, one past the last offset) of each (topic, partition), as a reader of committed records sees them.

    TransientError while Kafka is away, or has no such partition.
    """
    if not partitions:
        return {}
    first = _ask(client, partitions, kafka.OffsetSpec.earliest())  # type: ignore[no-untyped-call]
    last = _ask(client, partitions, kafka.OffsetSpec.latest())  # type: ignore[no-untyped-call]
    return {p: (first[p], last[p]) for p in partitions}


def _ask(
    client: kafka.AdminClient, partitions: Collection[tuple[str, int]], spec: kafka.OffsetSpec
) -> dict[tuple[str, int], int]:
    question = {kafka.TopicPartition(topic, number): spec for topic, number in partitions}
    answers = client.list_offsets(
        question, isolation_level=kafka.IsolationLevel.READ_COMMITTED, request_timeout=CALL_SECONDS
    )
    out: dict[tuple[str, int], int] = {}
    for tp, future in answers.items():
        try:
            out[tp.topic, tp.partition] = int(future.result().offset)
        except kafka.KafkaException as e:
            raise kafka.translate(e, f"reading the offsets of {tp.topic}/{tp.partition}") from None
    return out
