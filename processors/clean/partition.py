"""One raw partition while it is ours: where clean stands in it, and what stood before."""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.cleanmeta import Counts, Note, decode
from headrace.errors import FatalError
from headrace.intent import Tail, fingerprint
from headrace.kafka import Message, epoch_of, headers_of
from headrace.names import clean_topic, stream_of
from headrace.wire import EVENT_ID, EVENT_ID_BYTES, Position, header
from processors.assignment import Place, Token
from processors.lookback import Lookback, rows

log = logging.getLogger(__name__)
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Found:
    """What Kafka says of a raw partition at its assignment."""

    topic_id: str
    low: int  # the first offset that is still there
    high: int  # one past the last
    offset: int | None  # committed
    metadata: str  # committed with it


def resume(place: Place, found: Found) -> tuple[int, Note]:
    """The offset to go on from, and clean's note. FatalError, with the way out, where going on would lose or mix up."""
    if found.offset is None:
        return found.low, Note(found.topic_id, found.low)
    note = decode(found.metadata)
    if note.topic_id != found.topic_id:
        raise _fatal(place, "the topic was deleted and created again since clean last read it", anew=True)
    if found.offset < found.low:
        what = f"offsets {found.offset} to {found.low - 1} were deleted before clean read them: retention was too short"
        raise _fatal(place, what)
    if found.offset > found.high:
        raise _fatal(place, f"clean has read up to {found.offset}, but the log ends at {found.high}: {_TRUNCATED}")
    return found.offset, note


_TRUNCATED = "it was truncated, and readings are gone that Kafka had acknowledged"


def _fatal(place: Place, what: str, *, anew: bool = False) -> FatalError:
    """`anew`: positions begin again, so whoever reads the clean topic would take new readings for old."""
    remedy = f"stop clean and run kafka-consumer-groups --delete-offsets --topic {place[0]} for its group"
    if anew:
        remedy += (
            f", and delete {clean_topic(stream_of(place[0]))} once the archive has stored it: it must begin anew too"
        )
    return FatalError(f"{place[0]}/{place[1]}: {what}. To go on with what is there, {remedy}")


class Partition:
    """A raw partition under one assignment."""

    def __init__(self, place: Place, token: Token, found: Found, kept: "Partition | None", lookback: int) -> None:
        """`kept` is the partition under an earlier assignment, if there was one: its look-back may serve again."""
        self.topic, self.number = place
        self.token = token
        self.next, self.note = resume(place, found)
        tail = self.note.tail
        self._unseen: Tail | None = None  # the record before the start, until it is seen to be the same
        if kept is not None and kept.next == self.next and kept.note == self.note:
            self.lookback: Lookback = kept.lookback
            self.begin = min(kept.known, self.next)  # it may have been taken away in the middle of looking back
        else:
            self.lookback = Lookback(lookback)
            self.begin = max(found.low, self.next - lookback)
        self.known: int = self.begin  # the look-back is there up to this offset
        if tail is not None and tail.offset >= found.low:
            self.begin, self._unseen = min(self.begin, tail.offset), tail

    @property
    def looking_back(self) -> bool:
        """Whether readings of the look-back are still to come."""
        return self.known < self.next - 1

    @property
    def place(self) -> Place:
        """Topic and partition."""
        return self.topic, self.number

    def recognise(self, messages: list[Message]) -> None:
        """To be asked of all messages, from `begin` on. FatalError where the log is another one than clean has read."""
        tail = self._unseen
        found = next((m for m in messages if tail is not None and (m.offset() or 0) >= tail.offset), None)
        if tail is None or found is None:
            return
        if tail_of(found) != tail:
            raise _fatal(self.place, f"the record at offset {tail.offset} is not the one clean read: {_TRUNCATED}")
        self._unseen = None

    def remember(self, messages: list[Message]) -> None:
        """Messages from before `next`: the look-back of those that follow."""
        new = [m for m in messages if (m.offset() or 0) >= self.known]
        if new:
            self.lookback.add(rows([event_id(m) for m in new], offsets_of(new)))
            self.known = (new[-1].offset() or 0) + 1

    def advance(self, last: Message, emitted: Position, counts: Counts) -> tuple[int, Note]:
        """(offset, note) to commit after the stretch of messages that ends with `last`."""
        offset = (last.offset() or 0) + 1
        skipped = offset - self.next - counts.total
        return offset, self.note.advance(emitted, tail_of(last), counts._replace(skipped=skipped))

    def pass_over(self, offset: int) -> Note:
        """The note to commit at `offset`, up to which the log holds no further record.

        FatalError where the record before `next` should have been among those before it, and was not.
        """
        if self._unseen is not None:
            raise _fatal(
                self.place, f"there is no record at offset {self._unseen.offset}, which clean read: {_TRUNCATED}"
            )
        return self.note.advance(self.note.last, self.note.tail, Counts(skipped=offset - self.next))

    def settle(self, offset: int, note: Note) -> None:
        """`offset` is committed with `note`."""
        self.next, self.note = offset, note
        self.known = offset


def tail_of(m: Message) -> Tail:
    """What a record is recognised by."""
    value = m.value()
    data = value.encode() if isinstance(value, str) else value
    return Tail(m.offset() or 0, epoch_of(m), fingerprint(data, m.timestamp()[1] * 1000))


def offsets_of(messages: list[Message]) -> Ints:
    """Their offsets."""
    return np.fromiter([m.offset() for m in messages], dtype=np.int64, count=len(messages))


def event_id(m: Message) -> bytes | None:
    """The message's event id; None where it has none, or not one of ours."""
    return checked_id(header(headers_of(m), EVENT_ID))


def checked_id(data: bytes | None) -> bytes | None:
    """An event id that can be one."""
    return data if data is not None and len(data) == EVENT_ID_BYTES else None
