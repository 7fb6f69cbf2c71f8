"""Dead letters' readings to Kafka, each once, with the notes that make an interrupted redrive safe to finish."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from types import TracebackType
from typing import Any, NamedTuple, Self

from bridge.redrive.again import Outcome
from headrace import deadletters, kafka
from headrace.config import Config
from headrace.deadletters import Letter, ReadLetter, Stage, journal
from headrace.deadletters.journal import RecordAt, RedriveNote
from headrace.kafka import partition
from headrace.kafka.confirmed import Confirmed
from headrace.protocol.wire import header, provenance
from headrace.store.open import open_store

_MAX_BATCH_BYTES = 256 * 1024
_MAX_NOTED = 1000  # records that a note names: an array has up to 10,000 readings


class Item(NamedTuple):
    """A letter, the number of its redrive, and what it becomes."""

    letter: ReadLetter
    number: int
    outcome: Outcome
    mended: str = ""  # a digest of the bytes that are sent in the place of the letter's own


class Sender:
    """Sends letters again. A context manager.

    `limits`: max.message.bytes of the raw topics. `interrupted`: of the letters to be sent, the notes of redrives that
    were begun and not finished.
    """

    def __init__(self, config: Config, limits: Iterable[int], interrupted: Sequence[RedriveNote]) -> None:
        self._config = config
        sizes = kafka.sizes([*limits, deadletters.max_letter_bytes(config)], _MAX_BATCH_BYTES)
        self._records = Confirmed(kafka.producer(config.kafka, **sizes))
        self._reader = partition.reader(config.kafka)
        self._interrupted = {note.letter: note for note in interrupted}
        self._partitions: dict[str, int] = {}
        self._unsure: set[bytes] = set()
        self._already_sent: dict[bytes, RecordAt] = {}  # by event id: readings of an interrupted redrive
        self._values: dict[bytes, dict[bytes, bytes]] = {}  # by mark: of those, their digests by event id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._reader.close()

    def find_sent(self) -> None:
        """Find the readings that interrupted redrives had sent: read the raw topics from where these began.

        Call it once, before `send`. TransientError when Kafka is away.
        """
        starts: dict[tuple[str, int], int] = {}
        for note in self._interrupted.values():
            for topic, ends in note.ends.items():
                for number, end in enumerate(ends):
                    starts[topic, number] = min(end, starts.get((topic, number), end))
        logs = {where: kafka.watermarks(self._reader, *where) for where in starts}
        for note in self._interrupted.values():
            for topic, ends in note.ends.items():
                for number, end in enumerate(ends):
                    low, high = logs[topic, number]
                    if not low <= end <= high:  # deleted since, or the topic was created again
                        self._unsure.add(note.letter)
        for (topic, number), start in starts.items():
            for m in partition.read(self._reader, topic, number, start):
                headers = kafka.headers_of(m)
                mark, event = header(headers, journal.REDRIVE), provenance(headers).event_id or b""
                if mark is not None:
                    self._already_sent[event] = RecordAt(topic, number, m.offset() or 0)
                    self._values.setdefault(mark, {})[event] = _digest(m.value())

    def unsure(self, item: Item) -> str:
        """Why it can't be known what an interrupted redrive of the letter has sent; empty when it can be."""
        note = self._interrupted.get(item.letter.key)
        if item.letter.key in self._unsure:
            return "an earlier redrive was interrupted, and the raw topic no longer reaches back to it"
        if note is not None and note.mended != item.mended:
            return "an earlier redrive with other bytes was interrupted: give it the same --from"
        if note is not None and item.letter.text("stage") == Stage.DERIVE and self._made_otherwise(item):
            return (
                "an earlier redrive was interrupted, and its rows are not those that the function makes now: set the "
                "function and the contract back, redrive it, and change them then"
            )
        return ""

    def _made_otherwise(self, item: Item) -> bool:
        """Whether a row that was sent is none of those of the item: the two would be mixed."""
        rows = {r.event_id: _digest(r.value) for r in item.outcome.records}
        sent = self._values.get(journal.mark(item.letter.key, item.number)[1], {})
        return any(rows.get(event) != value for event, value in sent.items())

    def send(self, items: Sequence[Item]) -> dict[bytes, list[RecordAt]]:
        """Send the readings and letters that `items` become. Returns, by letter key, where the letter's readings are.

        All of them are then in Kafka, and noted. TransientError, FatalError: a part may be in Kafka; a redrive of the
        same letters finds out which.
        """
        begun = {i.letter.key: self._interrupted[i.letter.key].ends for i in items if i.letter.key in self._interrupted}
        # One that was interrupted may go elsewhere now: it was to become nothing then, or was routed in another way.
        fresh = [i for i in items if not _topics(i) <= begun.get(i.letter.key, {}).keys() or i.letter.key not in begun]
        if fresh:
            ends = self._ends({t for i in fresh for t in _topics(i)})
            for i in fresh:
                mine = {t: ends[t] for t in _topics(i)} | begun.get(i.letter.key, {})
                self._note(i.letter, RedriveNote(i.letter.key, i.number, False, mine, [], i.mended))
            self._flush()
        sent: dict[bytes, list[RecordAt]] = {i.letter.key: [] for i in items}
        for i in items:
            self._send(i.outcome, sent[i.letter.key])
        self._flush()
        for i in items:
            to = sent[i.letter.key][:_MAX_NOTED]
            self._note(i.letter, RedriveNote(i.letter.key, i.number, True, {}, to, i.mended))
        self._flush()
        return sent

    def _send(self, outcome: Outcome, sent: list[RecordAt]) -> None:
        for r in outcome.records:
            found = self._already_sent.get(r.event_id)
            if found is not None:
                sent.append(found)
            else:
                self._produce(r.topic, sent, key=r.key, value=r.value, headers=r.headers)
        for made in outcome.letters:
            it = deadletters.shelve(self._config, made, self._put)
            self._produce(self._config.dead_letters.topic, None, key=it.key, value=it.value, headers=it.headers)

    def _note(self, letter: ReadLetter, note: RedriveNote) -> None:
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

    def _produce(self, topic: str, sent: list[RecordAt] | None, **message: Any) -> None:
        """Produce a record; add where it is to `sent` once Kafka has it."""

        def stored(m: kafka.Message) -> None:
            if sent is not None:
                sent.append(RecordAt(topic, m.partition() or 0, m.offset() or 0))

        self._records.produce(topic, stored, **message)

    def _flush(self) -> None:
        """Wait until Kafka has everything."""
        self._records.flush("Run the same redrive again when Kafka is back: what has arrived is not sent twice")


def _topics(item: Item) -> set[str]:
    return {r.topic for r in item.outcome.records}


def _digest(value: bytes | None) -> bytes:
    return blake2b(value or b"", digest_size=16).digest()
