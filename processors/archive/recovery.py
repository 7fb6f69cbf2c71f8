"""What to do with a partition that has just been assigned: a pure decision on what Kafka and the lake say."""

from dataclasses import dataclass

from headrace.errors import ConfigError, FatalError
from headrace.intent import Note
from headrace.lake.ledger import Entry
from processors.archive.plan import Place

ADOPT = "`headrace archive adopt` derives the positions from the lake"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found. `entry` is the ledger entry that begins at the committed offset."""

    committed: int | None
    note: Note | None  # of the committed offset; not None when `committed` isn't
    low: int  # first offset in the log
    high: int  # one past the last
    entry: Entry | None
    in_lake: bool  # whether the lake holds anything of this partition; asked where nothing is committed


@dataclass(frozen=True, slots=True)
class Read:
    """Read on from `start`. Where `check` is set, read the record of the note's tail first and compare it.

    A note with an intent: the batch [start, intent.end) is to be stored again, just so. Where the log begins in its
    midst, at `low`, what it still has: see salvage.
    """

    start: int
    note: Note
    check: bool
    low: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """The batch at the committed offset is stored: commit its end, with this note, and decide again."""

    end: int
    note: Note


@dataclass(frozen=True, slots=True)
class Lost:
    """The log begins after the committed offset, and after the end of an open intent: records [start, low) are gone.

    Store a ledger entry of it, with whatever files of an open intent are complete, and then Finish. Never write rows.
    """

    start: int
    low: int  # where the log begins now
    note: Note


Action = Read | Finish | Lost


def decide(place: Place, facts: Facts) -> Action:
    """The next step. FatalError where to go on would lose or double; ConfigError where a person must decide."""
    where = f"{place.topic}/{place.partition}"
    if facts.committed is None or facts.note is None:
        if facts.in_lake:
            raise ConfigError(f"{where}: the lake holds rows of it, and no offset is committed. {ADOPT}")
        return Read(facts.low, Note(place.topic_id), check=False)
    start, note = facts.committed, facts.note
    if note.topic_id != place.topic_id:
        raise FatalError(f"{where}: the topic was deleted and created again since the archive last read it. {ADOPT}")
    if facts.entry is not None:
        return _finish(where, start, note, facts.entry)
    if start > facts.high:
        raise FatalError(f"{where}: committed at {start}, but the log ends at {facts.high}: it was truncated. {ADOPT}")
    end = start if note.intent is None else note.intent.end
    if end > facts.high:
        raise FatalError(f"{where}: the batch to finish ends at {end}, the log at {facts.high}: it was truncated")
    if start < facts.low < end:
        return Read(start, note, check=False, low=facts.low)
    if start < facts.low:
        return Lost(start, facts.low, note)
    return Read(start, note, check=note.tail is not None and note.tail.offset >= facts.low)


def _finish(where: str, start: int, note: Note, entry: Entry) -> Finish:
    if note.intent is not None and entry.end != note.intent.end and not entry.lost:
        raise FatalError(
            f"{where}: the batch from {start} was to end at {note.intent.end}; the ledger's ends at {entry.end}"
        )
    loose = bool(entry.lost) or (note.loose and entry.last == note.last)
    return Finish(entry.end, Note(note.topic_id, entry.last, entry.tail, None, loose))
