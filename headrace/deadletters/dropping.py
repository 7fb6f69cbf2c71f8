"""Letters dropped: noted beside them as not needed. Their bytes stay as long as those of any letter."""

import time
from collections.abc import Iterable

from headrace import kafka
from headrace.config import Config
from headrace.deadletters.journal import DropNote
from headrace.deadletters.reading import ReadLetter
from headrace.errors import TransientError

_MAX_SECONDS = 60.0
_NOTE_BATCH = 256 * 1024  # bytes


def drop(cfg: Config, letters: Iterable[ReadLetter], by: str, words: str) -> int:
    """Note that letters are dropped; returns how many, once Kafka has all notes. `words`: how they were chosen.

    TransientError: a part may be noted, and the same call again notes the rest.
    """
    failed: list[str] = []
    topic = cfg.dead_letters.topic
    producer = kafka.producer(cfg.kafka, **kafka.sizes([cfg.max_message_bytes], _NOTE_BATCH))

    def delivered(error: kafka.KafkaError | None, _message: kafka.Message) -> None:
        if error is not None:
            failed.append(str(kafka.translate(error, f"producing to {topic}")))

    at, count = time.time_ns() // 1000, 0
    for it in letters:
        note = DropNote(it.key, by, at, words).record()
        while True:
            try:
                producer.produce(topic, note.value, note.key, it.partition, delivered, headers=list(note.headers))
                break
            except BufferError:
                producer.poll(0.1)
            except kafka.KafkaException as e:
                raise TransientError(str(kafka.translate(e, f"producing to {topic}"))) from None
        count += 1
    deadline = time.monotonic() + _MAX_SECONDS
    while producer.flush(0.5):
        if time.monotonic() > deadline:
            raise TransientError(f"Kafka has not confirmed the notes for {_MAX_SECONDS:.0f} s. Run the same again")
    if failed:
        raise TransientError(f"Kafka refused {len(failed)} notes, the first: {failed[0]}. Run the same again")
    return count
