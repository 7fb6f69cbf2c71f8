"""Messages sorted out: rows by schema, repeats, and those that can't be rows. Pure, except that it asks for schemas."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa

from headrace.errors import PoisonError, Reason
from headrace.protocol.archive_note import ArchiveNote
from headrace.protocol.wire import HAS_POSITION
from processors.archive import tables
from processors.archive.chunk import Chunk
from processors.archive.tables import Group, Refused
from processors.arrays import Bools
from processors.avro.codec import Codec
from processors.group.schemas import Schemas
from processors.positions import new_rows
from processors.provenance import has

Decoded = tuple[list[Group], list[Refused]]
T = TypeVar("T")
Patient = Callable[[Callable[[], T]], T]  # returns what the call returns, and may repeat it until then
# What is decoded at a time: what the decoder needs besides its input and its output grows with it.
_PIECE_BYTES, _PIECE_ROWS = 2 * 1024 * 1024, 16_384


@dataclass(frozen=True, slots=True)
class Rows:
    """The messages of `chunk`, sorted out."""

    chunk: Chunk
    groups: list[Group]  # by schema id
    refused: list[Refused]
    repeats: Bools
    moved: Bools  # rows after which the last source is theirs: all but repeats and strangers

    def without_values(self) -> "Rows":
        """The same without the messages' values, whose memory it no longer holds."""
        return replace(self, chunk=self.chunk.without_values())


def sort_out(
    chunk: Chunk, note: ArchiveNote, codecs: Schemas[Codec], patient: Patient[Decoded], *, positioned: bool
) -> Rows:
    """Sort out the messages that come after `note`. With `positioned`, each must say where it came from.

    FatalError where a reading is missing between two. What `patient` calls raises TransientError while the registry is
    away.
    """
    repeats = np.zeros(len(chunk), np.bool_)
    strangers: list[Refused] = []
    wanted = np.ones(len(chunk), np.bool_)
    if positioned:
        placed = has(chunk.marks, HAS_POSITION)
        there = np.flatnonzero(placed)
        repeats[there] = ~new_rows(chunk.marks[there], note.last, loose=note.loose)
        error = PoisonError(Reason.MALFORMED, "no position in its header: headrace's clean did not write this message")
        strange = np.flatnonzero(~placed).tolist()
        strangers = [Refused(row, error, chunk.values.at(row)) for row in strange]
        wanted = placed & ~repeats
    parts: dict[int, list[Group]] = {}
    refused = strangers
    for first, end in _pieces(chunk):
        groups, bad = patient(partial(tables.decode, chunk.cut(first, end), wanted[first:end], codecs))
        for group in groups:
            parts.setdefault(group.schema_id, []).append(replace(group, rows=group.rows + first))
        refused = refused + [replace(r, row=r.row + first) for r in bad]
    joined = [_join(parts[schema_id]) for schema_id in sorted(parts)]
    return Rows(chunk, joined, sorted(refused, key=lambda r: r.row), repeats, wanted)


def _pieces(chunk: Chunk) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of each piece."""
    first = 0
    while first < len(chunk):
        begin = int(chunk.values.begins[first])
        end = int(chunk.values.ends.searchsorted(begin + _PIECE_BYTES))
        end = min(max(end, first + 1), first + _PIECE_ROWS, len(chunk))
        yield first, end
        first = end


def _join(parts: list[Group]) -> Group:
    if len(parts) == 1:
        return parts[0]
    return Group(
        parts[0].schema_id,
        np.concatenate([g.rows for g in parts]),
        pa.concat_tables([g.table for g in parts]),
        np.concatenate([g.event_times for g in parts]),
    )
