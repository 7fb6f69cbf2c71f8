"""The archive's positions, derived from the lake: for when Kafka has forgotten them, or they were set by hand."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.errors import ConfigError
from headrace.intent import FORMAT, Intent, Note
from headrace.lake import layout
from headrace.lake.ledger import Entry
from headrace.store.base import ObjectStore

_LEVEL = 3  # of zstd, for a batch that is finished under a derived intent: its rows count, not its bytes


@dataclass(frozen=True, slots=True)
class Found:
    """What the lake holds of a partition. `begun` is the start of a batch with files and no ledger entry."""

    entries: Sequence[Entry]  # of the topic's incarnation, in order
    begun: int | None = None
    last_offset: int = -1  # of the rows in the files of that batch


def derive(topic: str, topic_id: str, partition: int, low: int, found: Found) -> tuple[int, Note]:
    """The offset to commit, and the note beside it. `low` is where the partition's log begins.

    Nothing of this incarnation in the lake: the log's start. A batch with files but no ledger entry gets an intent
    again, so that the archive finishes it. ConfigError where the ledger has a hole, which no position can mend.
    """
    where = f"{topic}/{partition}"
    start, note = low, Note(topic_id)
    for before, entry in zip([None, *found.entries], found.entries, strict=False):
        if before is not None and entry.start != before.end:
            raise ConfigError(f"{where}: the ledger has no entry from {before.end} to {entry.start}: restore it first")
        start, note = entry.end, Note(topic_id, entry.last, entry.tail, None, loose=bool(entry.lost))
    if found.begun is None:
        return start, note
    if found.entries and found.begun != start:
        raise ConfigError(
            f"{where}: files of a batch from {found.begun}, but the ledger ends at {start}: restore it first"
        )
    intent = Intent(found.last_offset + 1, FORMAT, _LEVEL)
    return found.begun, Note(topic_id, note.last, note.tail, intent, note.loose)


def begun_batches(
    store: ObjectStore, topic: str, topic_id: str, entries: Sequence[Entry]
) -> dict[int, dict[int, list[str]]]:
    """Data files of this incarnation that no entry names: partition to start to keys."""
    named = {f.key for e in entries for f in e.files}
    out: dict[int, dict[int, list[str]]] = {}
    for info in store.list(f"{layout.folder(topic)}/"):
        key = layout.parse_data_key(info.key, topic)
        if key is not None and key.topic_id == topic_id and info.key not in named:
            out.setdefault(key.partition, {}).setdefault(key.start, []).append(info.key)
    return out
