"""The dead letters of Kafka records."""

from headrace import deadletters
from headrace.config import Config
from headrace.deadletters import KafkaSource, Letter, Stage
from headrace.errors import PoisonError
from headrace.kafka import Message, epoch_of, headers_of
from headrace.protocol.wire import texts
from headrace.store.open import open_store
from processors.group.partition import SourcePartition


def refusal(it: SourcePartition, m: Message, error: PoisonError, stage: Stage, stream: str) -> Letter:
    """The letter for a message of a partition, which a stage of a stream refused with `error`."""
    source = KafkaSource(it.topic, it.note.topic_id, it.number, epoch_of(m), m.offset() or 0)
    return deadletters.letter(
        error,
        m.value(),
        stage=stage,
        stream=stream,
        source=source,
        device=(m.key() or b"").decode(errors="replace"),
        original=texts(headers_of(m)),
    )


def shelved(config: Config, letter: Letter) -> Letter:
    """`letter`, or where it does not fit its topic one that points to its bytes in the store. Errors as ObjectStore's.

    Letters of that size are rare: the store is opened for each of them only.
    """
    return deadletters.shelve(config, letter, lambda key, data: open_store(config.store).put(key, data))
