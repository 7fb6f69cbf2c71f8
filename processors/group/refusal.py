"""The dead letter of a Kafka record."""

from headrace import deadletters
from headrace.deadletters import KafkaSource, Letter, Stage
from headrace.errors import PoisonError
from headrace.kafka import Message, epoch_of, headers_of
from processors.group.partition import SourcePartition


def refusal(it: SourcePartition, m: Message, error: PoisonError, stage: Stage, stream: str) -> Letter:
    """The letter for a message of a partition, which a stage of a stream refused with `error`."""
    key, value = m.key() or b"", m.value()
    source = KafkaSource(it.topic, it.note.topic_id, it.number, epoch_of(m), m.offset() or 0)
    return deadletters.letter(
        error,
        value.encode() if isinstance(value, str) else value,
        stage=stage,
        stream=stream,
        source=source,
        device=key if isinstance(key, str) else key.decode(errors="replace"),
        original=headers_of(m),
    )
