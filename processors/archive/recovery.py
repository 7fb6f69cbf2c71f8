"""Where a partition stands that has just been assigned: gather what Kafka and the lake say, then decide what to do."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from headrace.errors import ConfigError, FatalError
from headrace.lake import layout, ledger
from headrace.lake.ledger import Entry
from headrace.protocol.archive_note import ArchiveNote, decode
from headrace.protocol.names import lake_folder
from headrace.protocol.tail import Tail
from headrace.store.base import ObjectStore
from processors.archive.plan import Incarnation

ADOPT = "`headrace archive adopt` derives the positions from the lake"


class Offsets(NamedTuple):
    """A partition's log, and what the archive's group has committed in it."""

    low: int  # first offset in the log
    high: int  # one past the last
    committed: int | None
    metadata: str  # beside the committed offset


class Asked(Protocol):
    """Answers from Kafka: see lookup.Lookup, which any thread may use."""

    def topic_id(self, topic: str) -> str:
        """The topic's id at a moment after the call; TransientError where Kafka is away or has no such topic."""

    def offsets(self, topic: str, partition: int) -> Offsets:
        """The partition's log and committed offset; TransientError where Kafka is away."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What Kafka and the lake say of a partition."""

    committed: int | None
    note: ArchiveNote | None  # beside the committed offset; None only where there is none
    low: int  # first offset in the log
    high: int  # one past the last
    entry: Entry | None  # the ledger entry that begins at the committed offset
    in_lake: bool  # whether the lake holds anything of the partition; looked up where nothing is committed


@dataclass(frozen=True, slots=True)
class Read:
    """Read on from `start`. With `check`: read the record of the note's tail first, and compare it.

    A note with an intent: redo the batch [start, intent.end). Where the log begins inside it, at `low`, store what the
    log still has: see salvage.
    """

    start: int
    note: ArchiveNote
    check: bool
    low: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """The batch at the committed offset is stored: commit its end, with this note, and assess again."""

    end: int
    note: ArchiveNote


@dataclass(frozen=True, slots=True)
class Lost:
    """Kafka has deleted the records [start, low), and with them the whole batch of an open intent, if there is one.

    Store a ledger entry of it, with those files of the intent that are complete, and then Finish. Never write rows.
    """

    start: int
    low: int  # where the log begins now
    note: ArchiveNote


Action = Read | Finish | Lost


def gather(asked: Asked, store: ObjectStore, incarnation: Incarnation) -> Facts:
    """All that `decide` needs; TransientError where Kafka or the store is away."""
    low, high, offset, metadata = asked.offsets(incarnation.topic, incarnation.partition)
    if offset is None:
        return Facts(None, None, low, high, None, in_lake=in_lake(store, incarnation.topic, incarnation.partition))
    return Facts(offset, decode(metadata), low, high, _entry_at(store, incarnation, offset), in_lake=True)


def decide(incarnation: Incarnation, facts: Facts) -> Action:
    """What to do first. FatalError where going on would lose or double; ConfigError where a person must decide."""
    where = incarnation.name
    if facts.committed is None or facts.note is None:
        if facts.in_lake:
            raise ConfigError(f"{where}: the lake holds rows of it, and no offset is committed. {ADOPT}")
        return Read(facts.low, ArchiveNote(incarnation.topic_id), check=False)
    start, note = facts.committed, facts.note
    if note.topic_id != incarnation.topic_id:
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


def same_log(incarnation: Incarnation, start: int, tail: Tail, found: Tail | None) -> bool:
    """Whether the log still has the record `tail`, the last before `start`: `found` is what it has there, None nothing.

    False where compaction may have dropped it. FatalError where it is another log.
    """
    if found == tail:
        return True
    dropped = found is None or found.offset > tail.offset
    if not dropped or incarnation.positioned:
        raise FatalError(
            f"{incarnation.name}: the record before offset {start} was {tail}, and is {found} "
            f"now: the log was truncated, or the topic's data replaced. {ADOPT}"
        )
    return False


def in_lake(store: ObjectStore, topic: str, partition: int) -> bool:
    """Whether the lake holds rows or ledger entries of the partition, of any incarnation of its topic."""
    for info in store.list(layout.ledger_prefix(topic)):
        entry = layout.parse_ledger_key(info.key)
        if entry is not None and entry.partition == partition:
            return True
    for info in store.list(f"{lake_folder(topic)}/"):
        data = layout.parse_data_key(info.key, topic)
        if data is not None and data.partition == partition:
            return True
    return False


def _entry_at(store: ObjectStore, incarnation: Incarnation, start: int) -> Entry | None:
    """The ledger entry of the batch that begins at `start`, if there is one."""
    key = layout.ledger_key(*incarnation, start)
    return ledger.from_json(store.get(key), key) if store.exists(key) else None


def _finish(where: str, start: int, note: ArchiveNote, entry: Entry) -> Finish:
    if note.intent is not None and entry.end != note.intent.end and not entry.lost:
        raise FatalError(
            f"{where}: the batch from {start} was to end at {note.intent.end}; the ledger's ends at {entry.end}"
        )
    loose = bool(entry.lost) or (note.loose and entry.last == note.last)
    return Finish(entry.end, ArchiveNote(note.topic_id, entry.last, entry.tail, None, loose))
