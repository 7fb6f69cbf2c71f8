"""A batch of framed Avro messages of one schema as a table: in columns where that is safe, else row by row."""

import io
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, cast

import fastavro
import numpy as np
import numpy.typing as npt
import polars as pl

from headrace.errors import PoisonError, Reason
from headrace.wire import FRAME_BYTES, frame
from processors import avro, lengths, strict
from processors.avro import Node
from processors.physical import physical_dtype, restore, stored

_SYNC = b"headrace headrac"
_FEW = 32  # messages that may as well be read one by one
_FRAME_FIELD = "__frame"  # the five bytes before each datum, read as a column so that no message need be cut
_FLOOR = {"name": _FRAME_FIELD, "type": {"type": "fixed", "name": "frame", "size": FRAME_BYTES}}


class HasSchema(Protocol):
    """A contract, or whatever else carries an Avro schema."""

    @property
    def schema(self) -> dict[str, Any]:
        """The schema as parsed JSON."""


class Decoded(NamedTuple):
    """A batch as a table."""

    frame: pl.DataFrame  # one row a message, in their order; all null where the message could not be read
    good: npt.NDArray[np.bool_]  # which could
    bad: list[tuple[int, PoisonError]]  # (row, why) of the others


def decode(values: Sequence[bytes], schema: HasSchema | Mapping[str, Any]) -> Decoded:
    """The framed messages `values`, all written with `schema`, as a table: one row a message.

    Timestamps are in UTC with their own unit, enums are strings, decimals Decimal(precision, scale), maps lists of
    {key, value}. Numbers are exactly those written. What a message decodes to depends on its bytes alone, whatever
    it shares a batch with. ConfigError where the schema holds what no contract may hold (see processors.avro.parse).
    """
    return codec(schema).decode(values)


def codec(schema: HasSchema | Mapping[str, Any]) -> "Codec":
    """The reader and writer of a schema, made once."""
    parsed = schema if isinstance(schema, Mapping) else schema.schema
    return _codec(json.dumps(parsed))


@lru_cache(maxsize=256)
def _codec(text: str) -> "Codec":
    return Codec(json.loads(text))


class Codec:
    """Reads and writes framed datums of one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.node = avro.parse(schema)
        plain = avro.plain(self.node)
        self._fastavro = fastavro.parse_schema(plain)
        self._fast = lengths.is_fast(self.node)
        framed = {**plain, "fields": [_FLOOR, *plain["fields"]]}
        self._head = avro.container(json.dumps(framed).encode(), _SYNC)
        self._floor = Node("record", fields=((_FRAME_FIELD, Node("fixed", size=FRAME_BYTES)), *self.node.fields))

    def decode(self, values: Sequence[bytes]) -> Decoded:
        """See `decode`."""
        good = np.ones(len(values), dtype=np.bool_)
        table = self._columns(values)
        if table is not None:
            return Decoded(restore(table, self.node), good, [])
        if self._fast and len(values) > 2 * _FEW:
            return self._in_parts(values)
        rows: list[dict[str, Any]] = []
        bad: list[tuple[int, PoisonError]] = []
        for i, value in enumerate(values):
            try:
                rows.append(self.read(value))
            except PoisonError as e:
                good[i] = False
                bad.append((i, e))
        table = self._columns([self.write(0, row) for row in rows])
        if table is None:
            table = pl.DataFrame(
                {name: [stored(row[name], node) for row in rows] for name, node in self.node.fields},
                schema={name: physical_dtype(node) for name, node in self.node.fields},
            )
        if bad:
            place = pl.Series(np.where(good, np.cumsum(good) - 1, -1)).replace(-1, None)
            table = table.select(pl.all().gather(place)) if rows else table.clear(len(values))
        table = restore(table, self.node)
        return Decoded(table, good, bad)

    def _in_parts(self, values: Sequence[bytes]) -> Decoded:
        """The same in smaller batches, so that a bad message costs its near neighbours only."""
        step = max(_FEW, -(-len(values) // 16))
        starts = range(0, len(values), step)
        parts = [self.decode(values[i : i + step]) for i in starts]
        return Decoded(
            pl.concat([part.frame for part in parts]),
            np.concatenate([part.good for part in parts]),
            [(start + i, error) for start, part in zip(starts, parts, strict=True) for i, error in part.bad],
        )

    def read(self, value: bytes, *, proven: bool = False) -> dict[str, Any]:
        """One message as {field: value as stored}: timestamps are numbers, decimals bytes. PoisonError MALFORMED.

        `proven`: the message was among the good ones of `decode`, so its bytes need no second look.
        """
        datum = value[FRAME_BYTES:]
        if len(value) < FRAME_BYTES:
            raise PoisonError(Reason.MALFORMED, "the message is shorter than its frame")
        if not proven:
            strict.check(datum, self.node)
        try:
            row = fastavro.schemaless_reader(io.BytesIO(datum), self._fastavro, None)
        except Exception as e:  # noqa: BLE001 - whatever the reader throws at bytes, they are what is wrong
            raise PoisonError(Reason.MALFORMED, f"not Avro of the schema: {type(e).__name__}: {e}") from None
        return cast("dict[str, Any]", row)

    def write(self, schema_id: int, row: Mapping[str, Any]) -> bytes:
        """The inverse of `read`, framed. ValueError where a value does not fit its type."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._fastavro, row, strict=True)
        return frame(schema_id, out.getvalue())

    def _columns(self, values: Sequence[bytes]) -> pl.DataFrame | None:
        """The batch read in columns, or None where the schema or any of the messages needs a closer look."""
        if not self._fast or not values:
            return None if values else self._empty()
        ends = np.cumsum(np.fromiter(map(len, values), dtype=np.int64, count=len(values)))
        head = b"".join((self._head, avro.long_bytes(len(values)), avro.long_bytes(int(ends[-1]))))
        file = b"".join((head, *values, _SYNC))
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
        try:
            lengths.check(table, self._floor, np.frombuffer(file, np.uint8, int(ends[-1]), len(head)), ends)
        except lengths.Mismatch:
            return None
        return table.drop(_FRAME_FIELD)

    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema={name: physical_dtype(node) for name, node in self.node.fields})
