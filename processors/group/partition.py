"""One assigned partition of a topic whose rows go to another topic: where we stand in it, and in which log."""

from dataclasses import dataclass

import numpy as np

from headrace.errors import FatalError
from headrace.kafka import Message, columns, epoch_of, headers_of
from headrace.protocol.clean_note import CleanNote, Counts, decode
from headrace.protocol.tail import Tail, fingerprint
from headrace.protocol.wire import Position, provenance
from processors.arrays import Ints
from processors.group.token import Partition, Token


@dataclass(frozen=True, slots=True)
class Found:
    """What Kafka says of a partition when it is assigned."""

    target: str  # the topic that its rows go to
    topic_id: str
    low: int  # the first offset that is still there
    high: int  # one past the last
    offset: int | None  # committed
    metadata: str  # committed with it


def resume(source: Partition, found: Found) -> tuple[int, CleanNote]:
    """The offset to go on from, and the note. FatalError, with the way out, if going on would lose or mix up."""
    if found.offset is None:
        return found.low, CleanNote(found.topic_id, found.low)
    note = decode(found.metadata)
    if note.topic_id != found.topic_id:
        what = "the topic was deleted and created again since it was last read"
        # Positions begin again, so a reader of the target would take new readings for old ones.
        also = f", and delete {found.target} once the archive has stored it: it must begin anew too"
        raise _fatal(source, what, also)
    if found.offset < found.low:
        what = f"offsets {found.offset} to {found.low - 1} were deleted before they were read: retention was too short"
        raise _fatal(source, what)
    if found.offset > found.high:
        raise _fatal(source, f"it was read up to {found.offset}, but the log ends at {found.high}: {_TRUNCATED}")
    return found.offset, note


_TRUNCATED = "it was truncated, and readings are gone that Kafka had acknowledged"


def _fatal(source: Partition, what: str, also: str = "") -> FatalError:
    return FatalError(
        f"{source[0]}/{source[1]}: {what}. To go on with what is there, stop this service and run "
        f"kafka-consumer-groups --delete-offsets --topic {source[0]} for its group{also}"
    )


class SourcePartition:
    """A partition under one assignment. Read it from `begin` on; what comes before `next` was dealt with already."""

    def __init__(self, source: Partition, token: Token, found: Found) -> None:
        self.topic, self.number = source
        self.target, self.token = found.target, token
        self.next, self.note = resume(source, found)
        self.pending: CleanNote | None = None  # the note to commit for `next` before anything is decided
        tail = self.note.tail
        self._last = self.note.start - 1 if tail is None else tail.offset  # no record lies between it and `next`
        self._unseen = (
            tail if tail is not None and tail.offset >= found.low else None
        )  # until it is seen to be the same
        self.begin = min(self.next, max(found.low, self._last))

    @property
    def source(self) -> Partition:
        """Topic and number."""
        return self.topic, self.number

    def new(self, messages: list[Message]) -> list[Message]:
        """Those of the messages that were not dealt with yet. Give it all messages, from `begin` on.

        FatalError if the log is another one than the one that was read.
        """
        self._recognise(messages)
        count = columns.before(messages, self.next)
        if not count:
            return messages
        old, new = messages[:count], messages[count:]
        if (at := old[-1].offset() or 0) > self._last:
            raise _fatal(self.source, f"there is a record at offset {at}, where none was: {_TRUNCATED}")
        self.remember(old)
        return new

    def remember(self, messages: list[Message]) -> None:
        """Take messages from before `next`, read again. A partition with a look-back needs them."""

    def advance(
        self, last: Message, emitted: Position, counts: Counts, taken: Position | None = None
    ) -> tuple[int, CleanNote]:
        """(offset, note) to commit after messages that end with `last`.

        `emitted`: the source of the last row so far; `taken`: the position that the last message taken came with.
        """
        offset = (last.offset() or 0) + 1
        skipped = offset - self.next - counts.total
        return offset, self.note.advance(emitted, tail_of(last), counts._replace(skipped=skipped), taken)

    def ended(self, offset: int) -> CleanNote | None:
        """The log ends at `offset`: the note to commit there if no record lies between `next` and it, else None.

        FatalError if the record before `next` should have been among those that came, and was not.
        """
        if offset >= self.next and self._unseen is not None:
            what = f"there is no record at offset {self._unseen.offset}, where one was read"
            raise _fatal(self.source, f"{what}: {_TRUNCATED}")
        if offset <= self.next:
            return None
        return self.note.advance(self.note.last, self.note.tail, Counts(skipped=offset - self.next))

    def committed(self, offset: int, note: CleanNote) -> None:
        """Go on from `offset`, which is committed with `note`."""
        self.next, self.note = offset, note

    def _recognise(self, messages: list[Message]) -> None:
        tail = self._unseen
        if tail is None:
            return
        place = columns.before(messages, tail.offset)
        if place == len(messages):
            return
        if tail_of(messages[place]) != tail:
            raise _fatal(self.source, f"the record at offset {tail.offset} is not the one that was read: {_TRUNCATED}")
        self._unseen = None


def tail_of(m: Message) -> Tail:
    """What a record is recognised by."""
    return Tail(m.offset() or 0, epoch_of(m), fingerprint(m.value(), m.timestamp()[1] * 1000))


def offsets_of(messages: list[Message]) -> Ints:
    """The offset of each message."""
    return np.array(columns.offsets(messages), dtype=np.int64)


def event_id(m: Message) -> bytes | None:
    """The message's event id; None if it has none."""
    return provenance(headers_of(m)).event_id
