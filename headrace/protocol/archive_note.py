"""The note that the archive keeps beside its committed offset, in Kafka's own offset metadata.

It always says what came before the offset S: the source of the last row stored, and a fingerprint of the last record,
by which a truncated log is recognised. While a batch [S, E) is being stored it also holds the intent: the end E and
every setting that affects names, splitting or bytes, so that a restart stores exactly the same objects.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from headrace.errors import FatalError
from headrace.protocol.tail import MAX_NOTE_BYTES, Tail
from headrace.protocol.wire import Position

VERSION = 1
FORMAT = 1  # how a batch is cut into files and how the files are written; a new number for any change of these


class Intent(NamedTuple):
    """The batch that is about to be stored: all up to offset `end`, with the settings that the objects depend on."""

    end: int
    format: int
    level: int  # of zstd
    empty: bool = False  # it holds no record, only control records at the log's end


@dataclass(frozen=True, slots=True)
class ArchiveNote:
    """The metadata of one partition's committed offset."""

    topic_id: str  # the topic's incarnation
    last: Position | None = None  # source of the last row stored; None without positions, or before the first row
    tail: Tail | None = None  # None when nothing was read before the offset
    intent: Intent | None = None
    loose: bool = False  # readings were lost just before the offset: do not compare the next `prev` with `last`


def encode(note: ArchiveNote) -> str:
    """The note as offset metadata; FatalError when it is too long, before anything is stored."""
    data: dict[str, Any] = {"v": VERSION, "id": note.topic_id}
    if note.last is not None:
        data["src"] = list(note.last)
    if note.tail is not None:
        data["tail"] = list(note.tail)
    if note.intent is not None:
        data["intent"] = list(note.intent)
    if note.loose:
        data["loose"] = 1
    text = orjson.dumps(data)
    if len(text) > MAX_NOTE_BYTES:
        raise FatalError(f"the archive's note has {len(text)} bytes, {MAX_NOTE_BYTES} are allowed: {text.decode()}")
    return text.decode()


def decode(text: str) -> ArchiveNote:
    """The note in offset metadata; FatalError when it is not one, or was written by a newer Headrace."""
    try:
        data = orjson.loads(text)
        version = data["v"]
        if version != VERSION:
            raise FatalError(f"the archive's note has version {version}, this Headrace knows {VERSION}: upgrade it")
        return ArchiveNote(
            str(data["id"]),
            Position(*map(int, data["src"])) if "src" in data else None,
            Tail(*map(int, data["tail"])) if "tail" in data else None,
            _intent(*data["intent"]) if "intent" in data else None,
            bool(data.get("loose", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise FatalError(
            f"the committed offset has metadata that the archive did not write: {text[:100]!r} ({e}). "
            "If the offset was set by hand, run `headrace archive adopt`"
        ) from e


def _intent(end: int, made: int, level: int, empty: int = 0) -> Intent:
    return Intent(int(end), int(made), int(level), bool(empty))
