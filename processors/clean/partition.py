"""One raw partition while it is ours: where clean stands in it, and the readings of the look-back before that."""

from collections.abc import Callable

from headrace.kafka import Message, columns
from headrace.protocol.clean_note import CleanNote
from processors.clean.event_ids import ids_of
from processors.clean.lookback import Lookback, Seen, Values
from processors.group.partition import Found, SourcePartition, offsets_of
from processors.group.token import Partition, Token
from processors.provenance import marks


class RawPartition(SourcePartition):
    """A raw partition under one assignment."""

    def __init__(
        self,
        source: Partition,
        token: Token,
        found: Found,
        kept: "RawPartition | None",
        lookback: int,
        values: Callable[[list[Message]], Values],
        *,
        numbered: bool = False,
        restored: Lookback | None = None,
    ) -> None:
        """`kept` is the partition under an earlier assignment, if there was one: its look-back may serve again.

        `restored`: what is known of it up to an offset of the look-back, without reading the log.
        `lookback`: how many raw offsets clean looks back. `values`: what it keeps of messages beside their event ids.
        `numbered`: derive writes it, and its rows have positions, by which those that come twice are dropped.
        """
        super().__init__(source, token, found)
        self.numbered = numbered
        self._values = values
        self.lookback = Lookback(lookback)
        self.known: int = max(found.low, self.next - lookback)  # the look-back is there up to this offset
        if kept is not None and kept.next == self.next and kept.note == self.note:
            self.lookback = kept.lookback
            self.known = min(kept.known, self.next)  # it may have been taken away in the middle of looking back
        elif restored is not None:
            self.lookback, self.known = restored, restored.end
        self.saved = self.known  # from there on the look-back is in no snapshot
        self.begin = min(self.begin, self.known)

    @property
    def looking_back(self) -> bool:
        """Whether readings of the look-back are still to come."""
        return self.known < self.next - 1

    @property
    def whole(self) -> bool:
        """Whether the look-back has all that it is to know before `next`."""
        return self.lookback.end == self.next

    def remember(self, messages: list[Message]) -> None:
        """Take messages from before `next`: the look-back of those that follow."""
        new = messages[columns.before(messages, self.known) :]
        if new:
            offsets = offsets_of(new)
            end = int(offsets[-1]) + 1
            ids = ids_of(marks(columns.headers(new)), offsets)
            self.lookback.add(Seen(end, ids, self._values(new)))
            self.known = end

    def committed(self, offset: int, note: CleanNote) -> None:
        """Go on from `offset`, which is committed with `note`."""
        if self.whole and note.tail == self.note.tail:
            self.lookback.end = offset  # no record lies between
        super().committed(offset, note)
        self.known = offset
