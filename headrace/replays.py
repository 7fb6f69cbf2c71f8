"""Dead letters that were sent again: which, with what number, and what became of them.

A letter stays what it is. A note about its latest replay lies beside it in the same partition, under a key of its own,
so that compaction keeps both. The note is written before the letter's readings go out ("begun") and again when Kafka
has them ("sent"): a replay that broke off in between is finished under the same number, hence the same event ids.
"""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

import orjson

from headrace import deadletters
from headrace.config import Config
from headrace.deadletters import NOTE, Letter, ReadLetter
from headrace.wire import EVENT_ID_BYTES

REPLAY = (
    "replay"  # header of what a replay made, readings and letters: the letter's key in hexadecimal, "/", the number
)

_MARK = re.compile(r"([0-9a-f]{32})/([0-9]{1,9})")
Place = tuple[str, int, int]  # topic, partition, offset


class State(StrEnum):
    """How far a letter is. `open` and `begun` are still to be dealt with; the others are not."""

    OPEN = "open"  # never sent again
    BEGUN = "begun"  # a replay broke off: the next one finishes it
    REPLAYED = "replayed"  # Kafka has its readings
    REFUSED_AGAIN = "refused again"  # it has, and a newer letter tells what was wrong this time


class Note(NamedTuple):
    """A letter's latest replay. `ends`: where each topic's partitions ended before its readings went there."""

    letter: bytes
    number: int
    sent: bool
    ends: dict[str, list[int]]
    to: list[Place]

    def record(self) -> Letter:
        """The note as it goes to Kafka, into the letter's partition."""
        value = {**self._asdict(), "letter": self.letter.hex(), "at": time.time_ns() // 1000}
        key = blake2b(self.letter + b"\0note", digest_size=16).digest()
        return Letter(key, orjson.dumps(value), [(NOTE, b"replay")])


@dataclass
class Journal:
    """All letters, without their bytes, in the order of `deadletters.read`; and their replays."""

    letters: dict[bytes, ReadLetter] = field(default_factory=dict)
    notes: dict[bytes, Note] = field(default_factory=dict)
    newer: dict[tuple[bytes, int], list[bytes]] = field(default_factory=dict)  # letters that a replay ended in

    def state(self, key: bytes) -> State:
        """How far the letter is."""
        note = self.notes.get(key)
        if note is None:
            return State.OPEN
        if not note.sent:
            return State.BEGUN
        return State.REFUSED_AGAIN if self.newer.get((key, note.number)) else State.REPLAYED

    def became(self, key: bytes) -> list[ReadLetter]:
        """The letters that the latest replay of a letter ended in."""
        note = self.notes.get(key)
        return [self.letters[k] for k in self.newer.get((key, note.number), ())] if note else []

    def open(self) -> Iterator[ReadLetter]:
        """The letters that are still to be dealt with."""
        return (it for it in self.letters.values() if self.is_open(it.key))

    def is_open(self, key: bytes) -> bool:
        """Whether the letter is still to be dealt with."""
        return self.state(key) in {State.OPEN, State.BEGUN}

    def next_number(self, key: bytes, *, again: bool = False) -> int | None:
        """The number of the letter's next replay; None where it was sent and is not wanted `again`."""
        note = self.notes.get(key)
        if note is None:
            return 1
        if not note.sent:
            return note.number
        return note.number + 1 if again else None


def event_id(letter: bytes, number: int, stream: str, index: int) -> bytes:
    """The id of reading `index` that a letter's replay makes for a stream.

    The letter's own id may stand in the look-back, from when the reading was refused: with it the replay would be
    dropped as a repeat. A replay that is finished later has the same ids, and is.
    """
    return blake2b(b"%b\0%d\0%b\0%d" % (letter, number, stream.encode(), index), digest_size=EVENT_ID_BYTES).digest()


def mark(letter: bytes, number: int) -> tuple[str, bytes]:
    """The header that says which replay made a record: the letter's key in hexadecimal, a slash, the number."""
    return REPLAY, b"%b/%d" % (letter.hex().encode(), number)


def load(cfg: Config) -> Journal:
    """The journal up to now. TransientError where Kafka is away."""
    return journal(deadletters.records(cfg))


def journal(records: Iterable[ReadLetter]) -> Journal:
    """The journal that a topic's records make."""
    out = Journal()
    for it in records:
        if NOTE in it.headers:
            note = _note(it.value)
            if note is not None:
                out.notes[note.letter] = note  # a later one lies in the same partition, behind
        elif it.key not in out.letters:
            out.letters[it.key] = replace(it, value=b"")
            if found := _MARK.fullmatch(it.text(REPLAY)):
                out.newer.setdefault((bytes.fromhex(found[1]), int(found[2])), []).append(it.key)
    return out


def _note(value: bytes) -> Note | None:
    try:
        found = orjson.loads(value)
        to = [(str(t), int(p), int(o)) for t, p, o in found["to"]]
        ends = {str(t): [int(o) for o in found["ends"][t]] for t in found["ends"]}
        return Note(bytes.fromhex(found["letter"]), int(found["number"]), bool(found["sent"]), ends, to)
    except (ValueError, LookupError, TypeError, OverflowError):  # anybody who may write to the topic may write anything
        return None
