"""A batch of framed Avro messages of one schema as a table: in columns when that is safe, else row by row."""

import io
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, cast

import fastavro
import numpy as np
import polars as pl

from headrace.contracts import datum as strict
from headrace.contracts.avro import Member, Node, read_record
from headrace.errors import PoisonError, Reason
from headrace.protocol.wire import FRAME_BYTES, NOT_AVRO, frame
from processors.arrays import Bools, Bytes, Ints
from processors.avro import container, lengths
from processors.avro.physical import physical_dtype, restore, stored
from processors.joined import Joined

_SYNC = b"headrace headrac"
_FEW = 32  # up to so many messages may be read one by one
_FRAME_FIELD = "__frame"  # the five bytes before each datum, read as a column, so that no message must be cut
_FLOOR = {"name": _FRAME_FIELD, "type": {"type": "fixed", "name": "frame", "size": FRAME_BYTES}}


class Decoded(NamedTuple):
    """A batch as a table."""

    frame: pl.DataFrame  # one row a message, in their order; all null when the message could not be read
    good: Bools  # which could
    bad: list[tuple[int, PoisonError]]  # (row, why) of the others


class Located(NamedTuple):
    """A batch of good messages as a table, as stored, and where their bytes are."""

    frame: pl.DataFrame
    block: Bytes  # the messages, one after another
    ends: Ints  # of each message in it
    places: dict[str, Ints]  # where each wanted field begins, by message: with its union branch, if it is nullable


class Codec:
    """Reads and writes framed datums of one schema. Making one takes a while: keep it, by the schema's id."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """`schema`: the parsed JSON. ConfigError for one that `headrace.contracts.avro` refuses."""
        self.node = read_record(schema)
        plain = container.plain(self.node)
        self._fastavro = fastavro.parse_schema(plain)
        self._fast = lengths.is_fast(self.node)
        framed = {**plain, "fields": [_FLOOR, *plain["fields"]]}
        self._head = container.head(json.dumps(framed).encode(), _SYNC)
        floor = Member(_FRAME_FIELD, Node("fixed", size=FRAME_BYTES), {})
        self._framed = Node("record", members=(floor, *self.node.members))

    def decode(self, values: Sequence[bytes]) -> Decoded:
        """The framed messages `values`, all written with this schema, as a table: one row a message.

        Timestamps are in UTC with their own unit, enums are strings, decimals Decimal(precision, scale), maps lists of
        {key, value}. Numbers are exactly those written. What a message decodes to depends on its bytes alone, whatever
        it shares a batch with.
        """
        return self.decode_joined(Joined.of(values))

    def decode_joined(self, values: Joined) -> Decoded:
        """The same for values in one buffer: none is cut out of it unless it has to be read by itself."""
        good = np.ones(len(values), dtype=np.bool_)
        table = self._columns(values)
        if table is not None:
            return Decoded(restore(table, self.node), good, [])
        if self._fast and len(values) > 2 * _FEW:
            return self._in_parts(values)
        rows: list[dict[str, Any]] = []
        bad: list[tuple[int, PoisonError]] = []
        for i, value in enumerate(values.separate()):
            try:
                rows.append(self.read(value))
            except PoisonError as e:
                good[i] = False
                bad.append((i, e))
        table = self._columns(Joined.of([self.write(0, row) for row in rows]))
        if table is None:
            table = pl.DataFrame(
                {m.name: [stored(row[m.name], m.type) for row in rows] for m in self.node.members},
                schema={m.name: physical_dtype(m.type) for m in self.node.members},
            )
        if bad:
            place = pl.Series(np.where(good, np.cumsum(good) - 1, -1)).replace(-1, None)
            table = table.select(pl.all().gather(place)) if rows else table.clear(len(values))
        table = restore(table, self.node)
        return Decoded(table, good, bad)

    def _in_parts(self, values: Joined) -> Decoded:
        """The same in smaller batches, so that a bad message costs its near neighbours only."""
        step = max(_FEW, -(-len(values) // 16))
        starts = range(0, len(values), step)
        parts = [self.decode_joined(values.cut(i, min(len(values), i + step))) for i in starts]
        return Decoded(
            pl.concat([part.frame for part in parts]),
            np.concatenate([part.good for part in parts]),
            [(start + i, error) for start, part in zip(starts, parts, strict=True) for i, error in part.bad],
        )

    def read(self, value: bytes, *, proven: bool = False) -> dict[str, Any]:
        """One message as {field: value as stored}: timestamps are numbers, decimals bytes. PoisonError MALFORMED.

        `proven`: `decode` has found the message good, so its bytes are not checked again.
        """
        datum = value[FRAME_BYTES:]
        if len(value) < FRAME_BYTES:
            raise PoisonError(Reason.MALFORMED, "the message is shorter than its frame")
        if not proven:
            strict.check(datum, self.node)
        try:
            row = fastavro.schemaless_reader(io.BytesIO(datum), self._fastavro, None)
        except Exception:  # noqa: BLE001 - whatever the reader raises, the bytes are wrong
            raise PoisonError(Reason.MALFORMED, NOT_AVRO) from None
        return cast("dict[str, Any]", row)

    def write(self, schema_id: int, row: Mapping[str, Any]) -> bytes:
        """The inverse of `read`, framed. ValueError when a value does not fit its type."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._fastavro, row, strict=True)
        return frame(schema_id, out.getvalue())

    def locate(self, values: Sequence[bytes], wanted: Collection[str]) -> Located | None:
        """The batch in columns, and where its `wanted` fields are; None when a message must be read by itself.

        Each message of it is in the shortest encoding, as `write` makes it.
        """
        return self._read(Joined.of(values), wanted) if values and self._fast else None

    def _columns(self, values: Joined) -> pl.DataFrame | None:
        """The batch read in columns, or None when the schema or a message needs a closer look."""
        if not self._fast or not len(values):
            return None if len(values) else self._empty()
        found = self._read(values)
        return None if found is None else found.frame

    def _read(self, values: Joined, wanted: Collection[str] = ()) -> Located | None:
        ends = values.ends
        head = b"".join((self._head, container.long_bytes(len(values)), container.long_bytes(int(ends[-1]))))
        file = b"".join((head, values.data, _SYNC))
        try:
            table = pl.read_avro(io.BytesIO(file))
        except Exception:  # noqa: BLE001 - polars raises many kinds; row by row will tell what is wrong
            return None
        except BaseException as e:
            if type(e).__name__ != "PanicException":  # pyo3's: no module offers the class
                raise
            return None
        if table.height != len(values):
            return None
        block = np.frombuffer(file, np.uint8, int(ends[-1]), len(head))
        try:
            places = lengths.check(table, self._framed, block, ends, wanted)
        except lengths.Mismatch:
            return None
        return Located(table.drop(_FRAME_FIELD), block, ends, places)

    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema={m.name: physical_dtype(m.type) for m in self.node.members})
