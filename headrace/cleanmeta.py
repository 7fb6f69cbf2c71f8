"""The note that clean keeps beside its committed offset, in Kafka's own offset metadata.

It says which row clean emitted last (the `prev` of the next one), by what to recognise the record before the offset,
and what became of every raw offset since the first one that clean read: `headrace verify` counts with it.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from headrace.errors import FatalError
from headrace.intent import Tail
from headrace.wire import ORIGIN, Position

VERSION = 1
MAX_BYTES = 511  # Kafka's default limit is 4,096; what other brokers allow is not known, so stay far below


class Counts(NamedTuple):
    """What became of the raw offsets of a partition: each is in exactly one of these."""

    kept: int = 0  # passed on as they came
    changed: int = 0  # passed on with a value nulled or clamped
    rejected: int = 0  # to the dead letters
    repeated: int = 0  # dropped: the same reading stands within the look-back
    skipped: int = 0  # offsets that hold no record, such as a transaction's marks

    @property
    def total(self) -> int:
        """How many raw offsets these are."""
        return sum(self)

    def plus(self, other: "Counts") -> "Counts":
        """The sums, outcome by outcome."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


NONE = Counts()


@dataclass(frozen=True, slots=True)
class Note:
    """The metadata of one partition's committed offset. `start + counts.total` is that offset."""

    topic_id: str  # the raw topic's incarnation
    start: int  # the first raw offset that clean read
    last: Position = ORIGIN  # source of the last row emitted
    tail: Tail | None = None  # the record before the offset; None when none was read yet
    counts: Counts = NONE

    def advance(self, last: Position, tail: Tail | None, counts: Counts) -> "Note":
        """The note after a further stretch of offsets."""
        return replace(self, last=last, tail=tail, counts=self.counts.plus(counts))


def encode(note: Note) -> str:
    """The note as offset metadata; FatalError where it doesn't fit."""
    data: dict[str, Any] = {
        "v": VERSION, "id": note.topic_id, "start": note.start, "last": list(note.last), "n": list(note.counts),
    }  # fmt: skip
    if note.tail is not None:
        data["tail"] = list(note.tail)
    text = orjson.dumps(data)
    if len(text) > MAX_BYTES:
        raise FatalError(f"clean's note has {len(text)} bytes, {MAX_BYTES} are allowed: {text.decode()}")
    return text.decode()


def decode(text: str) -> Note:
    """The note in offset metadata; FatalError where it isn't one, or was written by a newer Headrace."""
    try:
        data = orjson.loads(text)
        if data["v"] != VERSION:
            raise FatalError(f"clean's note has version {data['v']}, this Headrace knows {VERSION}: upgrade it")
        return Note(
            topic_id=str(data["id"]),
            start=int(data["start"]),
            last=Position(*map(int, data["last"])),
            tail=Tail(*map(int, data["tail"])) if "tail" in data else None,
            counts=Counts(*map(int, data["n"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise FatalError(
            f"the committed offset has metadata that clean did not write: {text[:100]!r} ({e}). If it was set by hand, "
            "delete the group's offsets of that topic: clean then begins at the log's start, and nothing is doubled"
        ) from e
