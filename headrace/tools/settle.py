"""What became of messages on their way through the bridge and clean, by the counters that these keep in Kafka."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from headrace import cleanmeta, kafka
from headrace.cleanmeta import Counts
from headrace.config import Config
from headrace.errors import TransientError
from headrace.names import raw_topic

_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Marks:
    """How far a stream has come. All numbers are sums over its partitions."""

    ends: tuple[int, ...]  # one past the last raw offset, by partition
    cleaned: tuple[int, ...]  # clean's committed offsets, by partition; 0 before its first
    counts: Counts  # what clean made of the raw offsets
    letters: int  # messages in the dead letters' topic

    @property
    def arrived(self) -> int:
        """Readings that the bridge has written."""
        return sum(self.ends)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened since the first marks. `settled` is false where it was still going on when patience ended."""

    settled: bool
    arrived: int  # readings written by the bridge
    refused: int  # dead letters of the bridge
    counts: Counts  # of clean


class Watch:
    """Reads the marks of one stream. From `watching`."""

    def __init__(self, cfg: Config, stream: str, client: kafka.Consumer) -> None:
        self._client = client
        self._raw = raw_topic(stream)
        self._letters = cfg.dead_letters.topic
        found = kafka.describe(cfg.kafka, [self._raw, self._letters])
        if self._raw not in found:
            raise TransientError(f"there is no topic {self._raw} yet: has the stack come up?")
        self._partitions = found[self._raw].partitions
        self._letter_partitions = found[self._letters].partitions if self._letters in found else 0

    def marks(self) -> Marks:
        """The marks now; TransientError where Kafka is away."""
        ends = tuple(kafka.watermarks(self._client, self._raw, p)[1] for p in range(self._partitions))
        noted = kafka.committed(self._client, [(self._raw, p) for p in range(self._partitions)])
        cleaned, counts = [], Counts()
        for p in range(self._partitions):
            offset, metadata = noted[self._raw, p]
            cleaned.append(offset or 0)
            if offset is not None and metadata:
                counts = counts.plus(cleanmeta.decode(metadata).counts)
        letters = sum(kafka.watermarks(self._client, self._letters, p)[1] for p in range(self._letter_partitions))
        return Marks(ends, tuple(cleaned), counts, letters)

    def settle(
        self, before: Marks, sent: int, *, patience: float, progress: Callable[[int], None] = lambda _: None
    ) -> Outcome:
        """Wait until `sent` messages have been written or refused, and clean has read them all.

        Gives up when nothing has moved for `patience` seconds. `progress` gets the number that clean is through with.
        """
        latest, moved = before, time.monotonic()
        goal: tuple[int, ...] | None = None
        while True:
            outcome = _since(before, latest)
            if goal is None and outcome.arrived + outcome.refused >= sent:
                goal = latest.ends
            if goal is not None and all(c >= g for c, g in zip(latest.cleaned, goal, strict=True)):
                return outcome
            if time.monotonic() - moved > patience:
                return Outcome(False, outcome.arrived, outcome.refused, outcome.counts)
            time.sleep(_POLL_SECONDS)
            try:
                now = self.marks()
            except TransientError:  # Kafka restarts: it has `patience` to come back
                continue
            if now != latest:
                latest, moved = now, time.monotonic()
            progress(outcome.counts.total + outcome.refused)


def _since(before: Marks, now: Marks) -> Outcome:
    counts = Counts(*(b - a for a, b in zip(before.counts, now.counts, strict=True)))
    refused = now.letters - before.letters - counts.rejected
    return Outcome(True, now.arrived - before.arrived, max(0, refused), counts)


@contextmanager
def watching(cfg: Config, stream: str) -> Iterator[Watch]:
    """A watch on a stream. It reads the committed offsets of clean's group without joining it.

    Raises TransientError where Kafka is away or the stream has no topics.
    """
    kafka.probe(cfg.kafka)
    client = kafka.consumer(cfg.kafka, cfg.clean.group)
    try:
        yield Watch(cfg, stream, client)
    finally:
        client.close()
