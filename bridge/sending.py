"""The readings of dead letters to Kafka, each once, with the notes that make a broken-off replay safe to finish."""

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from bridge.again import Outcome
from headrace import deadletters, kafka, partition, replays
from headrace.config import Config
from headrace.deadletters import Letter, ReadLetter
from headrace.errors import FatalError, TransientError
from headrace.replays import Note, Place
from headrace.store.open import open_store
from headrace.wire import EVENT_ID, header

_MAX_BATCH_BYTES = 256 * 1024
_PATIENCE_SECONDS = 60.0
_MAX_PLACES = 1000  # that a note names: an array has up to 10,000 readings


class Item(NamedTuple):
    """A letter, the number of its replay, and what it becomes."""

    letter: ReadLetter
    number: int
    outcome: Outcome


class Sender:
    """A context manager. `broken_off`: the notes of earlier replays that have no end, of the letters to be sent."""

    def __init__(self, config: Config, limits: Iterable[int], broken_off: Sequence[Note]) -> None:
        self._config = config
        sizes = kafka.sizes([*limits, deadletters.max_letter_bytes(config)], _MAX_BATCH_BYTES)
        self._producer = kafka.producer(config.kafka, **sizes)
        self._reader = partition.reader(config.kafka)
        self._failed: list[str] = []
        self._broken_off = {note.letter: note for note in broken_off}
        self._partitions: dict[str, int] = {}
        self._unsure: set[bytes] = set()  # letters whose replay broke off too long ago to tell how far it came
        self._there: dict[bytes, Place] = {}  # by event id: readings of theirs that Kafka has

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._reader.close()

    def look_back(self) -> None:
        """Find what the broken-off replays had sent, in the raw topics from where they began. TransientError."""
        starts: dict[tuple[str, int], int] = {}
        for note in self._broken_off.values():
            for topic, ends in note.ends.items():
                for number, end in enumerate(ends):
                    starts[topic, number] = min(end, starts.get((topic, number), end))
        logs = {place: kafka.watermarks(self._reader, *place) for place in starts}
        for note in self._broken_off.values():
            for topic, ends in note.ends.items():
                for number, end in enumerate(ends):
                    low, high = logs[topic, number]
                    if not low <= end <= high:  # deleted since, or the topic is another one now
                        self._unsure.add(note.letter)
        for (topic, number), start in starts.items():
            for m in partition.read(self._reader, topic, number, start):
                headers = kafka.headers_of(m)
                if header(headers, replays.REPLAY) is not None:
                    self._there[header(headers, EVENT_ID) or b""] = (topic, number, m.offset() or 0)

    def unsure(self, key: bytes) -> bool:
        """Whether an earlier replay may have sent the letter, and the log from then is gone."""
        return key in self._unsure

    def send(self, items: Sequence[Item]) -> dict[bytes, list[Place]]:
        """Send the readings and letters that `items` become; returns where each letter's readings lie, by its key.

        Each is then in Kafka, and noted. TransientError, FatalError: some may be; the same replays will find out.
        """
        fresh = [i for i in items if i.letter.key not in self._broken_off]
        if fresh:
            ends = self._ends({r.topic for i in fresh for r in i.outcome.records})
            for i in fresh:
                mine = {t: ends[t] for t in {r.topic for r in i.outcome.records}}
                self._note(i.letter, Note(i.letter.key, i.number, False, mine, []))
            self._flush()
        places: dict[bytes, list[Place]] = {i.letter.key: [] for i in items}
        for i in items:
            self._send(i.outcome, places[i.letter.key])
        self._flush()
        for i in items:
            to = places[i.letter.key][:_MAX_PLACES]
            self._note(i.letter, Note(i.letter.key, i.number, True, {}, to))
        self._flush()
        return places

    def _send(self, outcome: Outcome, places: list[Place]) -> None:
        for r in outcome.records:
            found = self._there.get(r.event_id)
            if found is not None:
                places.append(found)
            else:
                self._produce(r.topic, places, key=r.key, value=r.value, headers=r.headers)
        for made in outcome.letters:
            it = deadletters.shelve(self._config, made, self._put)
            self._produce(self._config.dead_letters.topic, None, key=it.key, value=it.value, headers=it.headers)

    def _note(self, letter: ReadLetter, note: Note) -> None:
        it: Letter = note.record()
        topic = self._config.dead_letters.topic
        self._produce(topic, None, key=it.key, value=it.value, headers=it.headers, partition=letter.partition)

    def _put(self, key: str, data: bytes) -> None:
        open_store(self._config.store).put(key, data)

    def _ends(self, topics: set[str]) -> dict[str, list[int]]:
        new = topics - self._partitions.keys()
        if new:
            self._partitions |= {t: i.partitions for t, i in kafka.describe(self._config.kafka, new).items()}
        return {t: [kafka.watermarks(self._reader, t, p)[1] for p in range(self._partitions[t])] for t in topics}

    def _produce(self, topic: str, places: list[Place] | None, **message: Any) -> None:
        def delivered(error: kafka.KafkaError | None, m: kafka.Message) -> None:
            if error is not None:
                self._failed.append(str(kafka.translate(error, f"producing to {topic}")))
            elif places is not None:
                places.append((topic, m.partition() or 0, m.offset() or 0))

        while True:
            try:
                self._producer.produce(topic, on_delivery=delivered, **message)
            except BufferError:
                self._producer.poll(0.1)
            except kafka.KafkaException as e:
                raise FatalError(str(kafka.translate(e, f"producing to {topic}"))) from None
            else:
                return

    def _flush(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._producer.flush(0.5):
            if time.monotonic() > deadline:
                raise TransientError(
                    f"Kafka has not taken what was sent for {_PATIENCE_SECONDS:.0f} s. Run the same replay again when "
                    "it is back: what has arrived is not sent twice"
                )
        if self._failed:
            raise FatalError(f"Kafka refused {len(self._failed)} records, the first: {self._failed[0]}")
