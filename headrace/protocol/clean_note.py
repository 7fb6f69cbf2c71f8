"""The note that clean, derive and copy keep beside their committed offset, in Kafka's own offset metadata.

It says which row clean emitted last (the `prev` of the next one), how to recognise the record before the offset,
what became of every raw offset since the first one that clean read (`headrace verify` counts with it), and by which
versions of the stream's transform the rows from the offset on are made.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from headrace.errors import FatalError
from headrace.protocol.tail import MAX_NOTE_BYTES, Tail
from headrace.protocol.wire import ORIGIN, Position

VERSION = 1


class Counts(NamedTuple):
    """What became of the raw offsets of a partition: each is counted in exactly one of these."""

    kept: int = 0  # passed on as they came
    changed: int = 0  # passed on with a value or a note of its own
    rejected: int = 0  # to the dead letters
    repeated: int = 0  # dropped: the same reading is in the look-back
    skipped: int = 0  # offsets that hold no record, such as a transaction's marks

    @property
    def total(self) -> int:
        """How many raw offsets these are."""
        return sum(self)

    def plus(self, other: "Counts") -> "Counts":
        """The sums, outcome by outcome."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


NONE = Counts()
MAX_VERSIONS = 3


class Version(NamedTuple):
    """From which raw offset on rows are made by which version of the stream's transform; an empty digest: by none."""

    start: int
    digest: str  # its name, see `headrace.protocol.versions`


Versions = tuple[Version, ...]  # ascending


def in_force(versions: Versions, offset: int) -> str:
    """The digest of the version by which the row of a raw offset is made; empty for none."""
    return next((v.digest for v in reversed(versions) if v.start <= offset), "")


def since(versions: Versions, offset: int) -> Versions:
    """The versions without those that no row from `offset` on is made by."""
    now = [v for v in versions if v.start <= offset][-1:]
    return tuple(v for v in now if v.digest) + tuple(v for v in versions if v.start > offset)


def adopt(versions: Versions, start: int, digest: str) -> Versions:
    """The versions once rows from `start` on are made by `digest`; what was to begin from there on does not."""
    before = tuple(v for v in versions if v.start < start)
    return before if in_force(before, start) == digest else (*before, Version(start, digest))


def renewed(versions: Versions, wanted: str, at: int, emitted: Callable[[], int]) -> Versions:
    """The versions of rows from offset `at` on, once `wanted` is to make those that nothing was made of yet.

    `emitted()`: the highest offset that a row or a letter was emitted of; asked for only if `wanted` is new.
    """
    if wanted == (versions[-1].digest if versions else ""):
        return versions
    return since(adopt(versions, max(at, emitted() + 1), wanted), at)


@dataclass(frozen=True, slots=True)
class CleanNote:
    """The metadata of one partition's committed offset. `start + counts.total` is that offset."""

    topic_id: str  # the raw topic's incarnation
    start: int  # the first raw offset that clean read
    last: Position = ORIGIN  # source of the last row emitted
    tail: Tail | None = None  # the record before the offset; None when none was read yet
    counts: Counts = NONE
    taken: Position | None = None  # if the rows read have positions of their own: that of the last one taken
    versions: Versions = ()  # of the transform: of the row at the offset, and of those that follow

    def advance(self, last: Position, tail: Tail | None, counts: Counts, taken: Position | None = None) -> "CleanNote":
        """The note after a further stretch of offsets."""
        counts = self.counts.plus(counts)
        left = since(self.versions, self.start + counts.total) if self.versions else ()
        return replace(self, last=last, tail=tail, counts=counts, taken=taken or self.taken, versions=left)


def encode(note: CleanNote) -> str:
    """The note as offset metadata; FatalError when it is too long."""
    data: dict[str, Any] = {
        "v": VERSION, "id": note.topic_id, "start": note.start, "last": list(note.last), "n": list(note.counts),
    }  # fmt: skip
    if note.tail is not None:
        data["tail"] = list(note.tail)
    if note.taken is not None:
        data["src"] = list(note.taken)
    if note.versions:
        data["t"] = [list(it) for it in note.versions]
    text = orjson.dumps(data)
    if len(text) > MAX_NOTE_BYTES:
        raise FatalError(f"clean's note has {len(text)} bytes, {MAX_NOTE_BYTES} are allowed: {text.decode()}")
    return text.decode()


def decode(text: str) -> CleanNote:
    """The note in offset metadata; FatalError when it is not one, or was written by a newer Headrace."""
    try:
        data = orjson.loads(text)
        if data["v"] != VERSION:
            raise FatalError(f"clean's note has version {data['v']}, this Headrace knows {VERSION}: upgrade it")
        return CleanNote(
            topic_id=str(data["id"]),
            start=int(data["start"]),
            last=Position(*map(int, data["last"])),
            tail=Tail(*map(int, data["tail"])) if "tail" in data else None,
            counts=Counts(*map(int, data["n"])),
            taken=Position(*map(int, data["src"])) if "src" in data else None,
            versions=tuple(Version(int(start), str(digest)) for start, digest in data.get("t", ())),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise FatalError(
            f"the committed offset has metadata that clean did not write: {text[:100]!r} ({e}). If it was set by hand, "
            "delete the group's offsets of that topic: clean then begins at the log's start, and nothing is doubled"
        ) from e
