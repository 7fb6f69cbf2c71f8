"""What became of the messages of a replay: written by the bridge, refused by it, judged by clean.

Read from Kafka: the ends of the stream's raw topic, clean's notes beside its committed offsets, and the dead letters
that were written since the replay began. Readings that others send to the same stream meanwhile count too.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from headrace import deadletters, kafka
from headrace.config import Config
from headrace.deadletters import ReadLetter, Stage
from headrace.errors import TransientError
from headrace.kafka import partition
from headrace.protocol import clean_note
from headrace.protocol.clean_note import Counts
from headrace.protocol.names import raw_topic
from headrace.protocol.wire import MQTT_TOPIC

_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far a stream is."""

    ends: tuple[int, ...]  # one past the last raw offset, by partition
    cleaned: tuple[int, ...]  # clean's committed offsets, by partition; 0 when it has committed none
    counts: Counts  # what clean made of the raw offsets, all partitions
    refused: int = 0  # dead letters of the bridge since the first snapshot


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened since the first snapshot. `finished` is false when something was still under way at the end."""

    finished: bool
    arrived: int  # readings that the bridge wrote
    refused: int  # messages that the bridge refused
    counts: Counts  # of clean


class StreamState(Protocol):
    """What is asked about a stream. Each raises TransientError when Kafka is away."""

    def ends(self) -> Sequence[int]:
        """One past the last raw offset, by partition."""

    def committed(self) -> Sequence[tuple[int, str]]:
        """Clean's committed offset and the note beside it, by partition; (0, "") when it has committed none."""

    def new_letters(self) -> Iterable[ReadLetter]:
        """The dead letters of all streams that were written since the last call, or since the beginning."""


class Follower:
    """Follows one stream from the moment it is made. TransientError when Kafka is away."""

    def __init__(self, stream: str, state: StreamState) -> None:
        self._stream, self._state = stream, state
        self._refused = 0  # letters of the bridge for this stream
        self._unrouted: Counter[str] = Counter()  # letters without a stream, by MQTT topic
        self.before = self.snapshot()

    def snapshot(self, topics: Collection[str] = ()) -> Snapshot:
        """How far the stream is now. `topics`: the MQTT topics that were published to.

        Refused messages are those of this stream, and those of `topics` that no route took into any stream.
        """
        ends = tuple(self._state.ends())
        cleaned, counts = [], Counts()
        for offset, metadata in self._state.committed():
            cleaned.append(offset)
            if metadata:
                counts = counts.plus(clean_note.decode(metadata).counts)
        for it in self._state.new_letters():
            if it.text("stage") != Stage.BRIDGE:
                continue  # clean's are in its counts
            if it.text("stream") == self._stream:
                self._refused += 1
            elif not it.text("stream"):
                self._unrouted[it.text(MQTT_TOPIC)] += 1
        unrouted = sum(self._unrouted[topic] for topic in topics) if self._unrouted else 0
        return Snapshot(ends, tuple(cleaned), counts, self._refused + unrouted)

    def wait_cleaned(
        self, sent: int, topics: Collection[str], *, patience: float, progress: Callable[[int], None] = lambda _: None
    ) -> Outcome:
        """Wait until `sent` messages to `topics` have been written or refused, and clean has read them all.

        Gives up when nothing has changed for `patience` seconds. `progress` gets the number that is dealt with so far.
        """
        latest, changed = self.before, time.monotonic()
        goal: tuple[int, ...] | None = None
        while True:
            try:
                now = self.snapshot(topics)
            except TransientError:  # Kafka restarts: it has `patience` to come back
                now = latest
            if now != latest:
                latest, changed = now, time.monotonic()
            outcome = _since(self.before, latest)
            progress(outcome.counts.total + outcome.refused)
            if goal is None and outcome.arrived + outcome.refused >= sent:
                goal = latest.ends
            if goal is not None and all(c >= g for c, g in zip(latest.cleaned, goal, strict=True)):
                return outcome
            if time.monotonic() - changed > patience:
                return Outcome(False, outcome.arrived, outcome.refused, outcome.counts)
            time.sleep(_POLL_SECONDS)


def _since(before: Snapshot, now: Snapshot) -> Outcome:
    counts = Counts(*(b - a for a, b in zip(before.counts, now.counts, strict=True)))
    return Outcome(True, sum(now.ends) - sum(before.ends), now.refused - before.refused, counts)


@contextmanager
def follow(cfg: Config, stream: str) -> Iterator[Follower]:
    """A follower of a stream. It reads the committed offsets of clean's group without joining the group.

    TransientError when Kafka is away or the stream has no topics.
    """
    kafka.probe(cfg.kafka)
    group = kafka.consumer(cfg.kafka, cfg.clean.group)
    letters = partition.reader(cfg.kafka)
    try:
        yield Follower(stream, _InKafka(cfg, stream, group, letters))
    finally:
        group.close()
        letters.close()


class _InKafka:
    """The state of a stream as Kafka has it, from now on."""

    def __init__(self, cfg: Config, stream: str, group: kafka.Consumer, letters: kafka.Consumer) -> None:
        self._group, self._reader = group, letters
        self._raw, self._letters = raw_topic(stream), cfg.dead_letters.topic
        found = kafka.describe(cfg.kafka, [self._raw, self._letters])
        missing = [topic for topic in (self._raw, self._letters) if topic not in found]
        if missing:
            raise TransientError(f"Kafka has no topic {', '.join(missing)} yet; `headrace provision` creates it")
        self._partitions = range(found[self._raw].partitions)
        self._read = {p: self._end(self._letters, p) for p in range(found[self._letters].partitions)}

    def ends(self) -> Sequence[int]:
        return [self._end(self._raw, p) for p in self._partitions]

    def committed(self) -> Sequence[tuple[int, str]]:
        found = kafka.committed(self._group, [(self._raw, p) for p in self._partitions])
        notes = [found[self._raw, p] for p in self._partitions]
        return [(offset or 0, metadata if offset is not None else "") for offset, metadata in notes]

    def new_letters(self) -> Iterator[ReadLetter]:
        for p, first in self._read.items():
            end = self._end(self._letters, p)
            if end == first:
                continue
            found = [deadletters.of_message(m) for m in partition.read(self._reader, self._letters, p, first, end)]
            self._read[p] = end  # when reading fails it is read again, and nothing counts twice
            yield from found

    def _end(self, topic: str, number: int) -> int:
        return kafka.watermarks(self._group, topic, number)[1]
