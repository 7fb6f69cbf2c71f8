"""Dead letters that were redriven (sent again) or dropped: which, how many times, and what they became.

A letter is never changed. A note about its latest redrive lies in the same partition, under a key of its own, so that
compaction keeps both. The note is written before the letter's readings are sent ("begun"), and again when Kafka has
them ("sent"). A redrive that was interrupted in between is finished under the same number, so with the same event ids.

A note that a letter was dropped has yet another key: it never hides what a redrive has begun. A redrive counts more.
"""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

import orjson

from headrace.config import Config
from headrace.deadletters.making import NOTE, Letter
from headrace.deadletters.reading import ReadLetter, records
from headrace.protocol.wire import EVENT_ID_BYTES

DROP = "drop"
REDRIVE = "redrive"  # header of every reading and letter that a redrive made: see `mark`

_MARK = re.compile(r"([0-9a-f]{32})/([0-9]{1,9})")


class RecordAt(NamedTuple):
    """A record's position in Kafka."""

    topic: str
    partition: int
    offset: int


class State(StrEnum):
    """How far a letter is. `open` and `begun` wait for somebody, the others are settled."""

    OPEN = "open"  # never redriven
    BEGUN = "begun"  # a redrive was interrupted: the next one finishes it
    REDRIVEN = "redriven"  # Kafka has its readings
    REFUSED_AGAIN = "refused again"  # Kafka has its readings, and a newer letter says what was wrong this time
    DROPPED = "dropped"  # somebody decided that it is not needed; its bytes are kept as long as those of any letter


class RedriveNote(NamedTuple):
    """A letter's latest redrive.

    `ends`: by topic, where each partition ended before readings were sent to it. `to`: where the readings are, at
    least the first of them. `mended`: a digest of the bytes that were sent in the place of the letter's own.
    """

    letter: bytes  # its key
    number: int  # 1 for the first redrive of the letter
    sent: bool
    ends: dict[str, list[int]]
    to: list[RecordAt]
    mended: str = ""

    def record(self) -> Letter:
        """The note as a record of the dead letters' topic."""
        to = [tuple(it) for it in self.to]  # orjson takes no named tuples
        value = {**self._asdict(), "letter": self.letter.hex(), "to": to, "at": time.time_ns() // 1000}
        key = blake2b(self.letter + b"\0note", digest_size=16).digest()
        return Letter(key, orjson.dumps(value), [(NOTE, REDRIVE.encode())])


class DropNote(NamedTuple):
    """That a letter was dropped: by whom, when, and what the choice was, in words."""

    letter: bytes  # its key
    by: str
    at: int  # microseconds since 1970 UTC
    filter: str

    def record(self) -> Letter:
        """The note as a record of the dead letters' topic."""
        key = blake2b(self.letter + b"\0drop", digest_size=16).digest()
        return Letter(key, orjson.dumps({**self._asdict(), "letter": self.letter.hex()}), [(NOTE, DROP.encode())])


@dataclass
class Journal:
    """All letters, without their bytes, in the order of `deadletters.read`; their redrives, and which were dropped."""

    letters: dict[bytes, ReadLetter] = field(default_factory=dict)
    notes: dict[bytes, RedriveNote] = field(default_factory=dict)  # by the letter's key
    drops: dict[bytes, DropNote] = field(default_factory=dict)  # by the letter's key
    newer: dict[tuple[bytes, int], list[bytes]] = field(default_factory=dict)  # by key and redrive: what it made

    def state(self, key: bytes) -> State:
        """How far the letter is."""
        note = self.notes.get(key)
        if note is None:
            return State.DROPPED if key in self.drops else State.OPEN
        if not note.sent:
            return State.BEGUN
        return State.REFUSED_AGAIN if self.newer.get((key, note.number)) else State.REDRIVEN

    def became(self, key: bytes) -> list[ReadLetter]:
        """The newer letters that the latest redrive of a letter ended in."""
        note = self.notes.get(key)
        return [self.letters[k] for k in self.newer.get((key, note.number), ())] if note else []

    def open(self) -> Iterator[ReadLetter]:
        """The letters that are neither redriven nor dropped."""
        return (it for it in self.letters.values() if self.is_open(it.key))

    def is_open(self, key: bytes) -> bool:
        """Whether the letter is neither redriven nor dropped."""
        return self.state(key) in {State.OPEN, State.BEGUN}

    def next_number(self, key: bytes, *, again: bool = False) -> int | None:
        """The number of the letter's next redrive. None when it was redriven before and `again` is false."""
        note = self.notes.get(key)
        if note is None:
            return 1
        if not note.sent:
            return note.number
        return note.number + 1 if again else None


def event_id(letter: bytes, number: int, stream: str, index: int) -> bytes:
    """The id of reading `index` that redrive `number` of a letter makes for a stream. 16 bytes.

    The refused reading's own id may be in clean's look-back: with it the redriven reading would be dropped as a repeat.
    An interrupted redrive that is finished later gives the same ids, so clean drops what was sent twice.
    """
    return blake2b(b"%b\0%d\0%b\0%d" % (letter, number, stream.encode(), index), digest_size=EVENT_ID_BYTES).digest()


def mark(letter: bytes, number: int) -> tuple[str, bytes]:
    """The header that says which redrive made a record: the letter's key in hexadecimal, a slash, the number."""
    return REDRIVE, b"%b/%d" % (letter.hex().encode(), number)


def load(cfg: Config) -> Journal:
    """The journal up to now. TransientError when Kafka is away."""
    return journal(records(cfg))


def journal(found: Iterable[ReadLetter]) -> Journal:
    """The journal that the records of a topic make."""
    out = Journal()
    for it in found:
        if it.text(NOTE) == DROP:
            drop = _drop(it.value)
            if drop is not None:
                out.drops[drop.letter] = drop
        elif NOTE in it.headers:
            note = _note(it.value)
            if note is not None:
                out.notes[note.letter] = note  # in one partition, so the latest comes last
        elif it.key not in out.letters:
            out.letters[it.key] = replace(it, value=b"")
            if found_mark := _MARK.fullmatch(it.text(REDRIVE)):
                out.newer.setdefault((bytes.fromhex(found_mark[1]), int(found_mark[2])), []).append(it.key)
    return out


def _note(value: bytes) -> RedriveNote | None:
    """None for bytes that are no note: anyone who may write to the topic may write anything."""
    try:
        found = orjson.loads(value)
        to = [RecordAt(str(t), int(p), int(o)) for t, p, o in found["to"]]
        ends = {str(t): [int(o) for o in found["ends"][t]] for t in found["ends"]}
        mended = str(found.get("mended") or "")
        return RedriveNote(bytes.fromhex(found["letter"]), int(found["number"]), bool(found["sent"]), ends, to, mended)
    except (ValueError, LookupError, TypeError, OverflowError):
        return None


def _drop(value: bytes) -> DropNote | None:
    """None for bytes that are no note."""
    try:
        found = orjson.loads(value)
        return DropNote(bytes.fromhex(found["letter"]), str(found["by"]), int(found["at"]), str(found["filter"]))
    except (ValueError, LookupError, TypeError, OverflowError):
        return None
