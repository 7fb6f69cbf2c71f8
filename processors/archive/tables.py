"""Turn messages into rows of the lake: decode them by schema, and add the columns that say where each came from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import ConfigError, PoisonError, Reason
from headrace.protocol import provenance
from headrace.protocol.wire import FRAME_BYTES, HAS_EVENT_ID
from processors.archive.chunk import Chunk
from processors.arrays import Bools, Ints
from processors.avro.codec import Codec
from processors.group.schemas import Schemas
from processors.joined import Joined
from processors.positions import sources
from processors.provenance import fields, has

_UTC_US = pa.timestamp("us", "UTC")
_ARROW = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "timestamp": _UTC_US,
    "binary16": pa.binary(16),
}
PROVENANCE_FIELDS = tuple(pa.field(c.name, _ARROW[c.kind]) for c in provenance.COLUMNS)
_DAY_US = 86_400_000_000
_FIRST_DAY = int(np.datetime64("0001-01-01", "D").astype(np.int64))
_LAST_DAY = int(np.datetime64("9999-12-31", "D").astype(np.int64))
_PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def codec_of(schema_id: int, text: str) -> Codec:
    """The reader of the schema in `text`. PoisonError UNKNOWN_SCHEMA where it can't be a table of the lake."""
    try:
        schema: Any = orjson.loads(text)
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise PoisonError(Reason.UNKNOWN_SCHEMA, f"schema {schema_id} is not a record")
        clash = sorted({f["name"] for f in schema["fields"]} & set(provenance.NAMES))
        if clash:
            raise PoisonError(Reason.UNKNOWN_SCHEMA, f"schema {schema_id}: {', '.join(clash)} is the lake's own column")
        return Codec(schema)
    except (ConfigError, ValueError, KeyError, TypeError) as e:
        raise PoisonError(Reason.UNKNOWN_SCHEMA, f"schema {schema_id} can't be a table: {e}") from e


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one schema id, in Kafka's order."""

    schema_id: int
    rows: Ints  # of the chunk
    table: pa.Table  # the schema's columns, in its order
    event_times: Ints  # microseconds; Kafka's time where there is none


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that can't be a row."""

    row: int  # of the chunk
    error: PoisonError
    value: bytes


def decode(chunk: Chunk, wanted: Bools, codecs: Schemas[Codec]) -> tuple[list[Group], list[Refused]]:
    """Decode the messages of `chunk` where `wanted`: the rows by schema id, and the messages that can't be rows.

    TransientError while the registry is away and a schema is needed.
    """
    groups: list[Group] = []
    ids = _schema_ids(chunk.values)
    unframed = PoisonError(Reason.MALFORMED, "the message does not start with a zero byte and a schema id")

    def refuse(row: int, error: PoisonError) -> Refused:
        return Refused(row, error, chunk.values.at(row))

    refused = [refuse(int(row), unframed) for row in np.flatnonzero(wanted & (ids < 0))]
    for schema_id in np.unique(ids[wanted & (ids >= 0)]).tolist():
        rows = np.flatnonzero(wanted & (ids == schema_id))
        try:
            found = codecs.get(schema_id)
        except PoisonError as e:
            refused += [refuse(int(row), e) for row in rows]
            continue
        decoded = found.decode_joined(chunk.values.pick(rows))
        refused += [refuse(int(rows[i]), e) for i, e in decoded.bad]
        times = _event_times(decoded.frame, chunk.times[rows])
        sound = (days(times) >= _FIRST_DAY) & (days(times) <= _LAST_DAY)
        for i in np.flatnonzero(decoded.good & ~sound):
            error = PoisonError(
                Reason.OUT_OF_RANGE, "the time is outside the range of dates", field="event_time", value=str(times[i])
            )
            refused.append(refuse(int(rows[i]), error))
        good = decoded.good & sound
        frame = decoded.frame if good.all() else decoded.frame.filter(pl.Series(good))
        groups.append(Group(schema_id, rows[good], _plain(frame.to_arrow()), times[good]))
    return groups, sorted(refused, key=lambda r: r.row)


def with_provenance(
    table: pa.Table, chunk: Chunk, rows: Ints, topic: str, partition: int, *, positioned: bool
) -> pa.Table:
    """The columns of `table`, then those that say where each row came from: from the messages `rows` of the chunk."""
    n, marks = len(rows), chunk.marks[rows]
    columns: list[pa.Array] = [
        pa.repeat(pa.scalar(topic), n),
        pa.repeat(pa.scalar(partition, pa.int32()), n),
        pa.array(chunk.offsets[rows]),
        pa.array(chunk.times[rows]).cast(_UTC_US),
    ]
    if positioned:
        columns += [pa.array(c) for c in sources(marks)]
    else:
        columns += [pa.nulls(n, f.type) for f in PROVENANCE_FIELDS if f.name in provenance.SOURCE_NAMES]
    it = fields(marks)
    event_ids, received = np.ascontiguousarray(it["event_id"]), it["received"].astype(np.int64)
    ids = pa.Array.from_buffers(pa.binary(16), n, [None, pa.py_buffer(event_ids)])
    columns += [
        _null_where(ids, ~has(marks, HAS_EVENT_ID)),
        pa.array(received, mask=received < 0).cast(_UTC_US),
    ]
    for field, column in zip(PROVENANCE_FIELDS, columns, strict=True):
        table = table.append_column(field, column)
    return table


def days(event_times: Ints) -> Ints:
    """The UTC day of each event time, counted from 1970."""
    return event_times // _DAY_US


def date(day: int) -> str:
    """A day counted from 1970 as YYYY-MM-DD."""
    return str(np.datetime64(int(day), "D"))


def _schema_ids(values: Joined) -> Ints:
    """The schema id of each value, -1 where it isn't framed."""
    begins = values.begins
    framed = values.ends - begins >= FRAME_BYTES
    if not framed.any():
        return np.full(len(values), -1)
    first, *number = (values.block.take(begins + k, mode="clip").astype(np.int64) for k in range(FRAME_BYTES))
    ids = (number[0] << 24) | (number[1] << 16) | (number[2] << 8) | number[3]
    return np.where(framed & (first == 0), ids, -1)


def _event_times(frame: pl.DataFrame, kafka_times: Ints) -> Ints:
    """Microseconds of each row's event_time; Kafka's where the schema has none, or the row has none."""
    kind = frame.schema.get("event_time")
    if not isinstance(kind, pl.Datetime):
        return kafka_times
    times = frame["event_time"].to_physical()
    have = times.is_not_null().to_numpy()
    number = times.fill_null(0).to_numpy()
    unit = _PER_SECOND[kind.time_unit]
    if unit < _PER_SECOND["us"]:
        number = np.clip(number, -(2**52), 2**52) * (_PER_SECOND["us"] // unit)
    else:
        number = number // (unit // _PER_SECOND["us"])
    return np.where(have, number, kafka_times)


def _null_where(array: pa.Array, absent: Bools) -> pa.Array:
    return pc.if_else(pa.array(absent), pa.scalar(None, array.type), array) if absent.any() else array


def _plain(table: pa.Table) -> pa.Table:
    """The table with Arrow's common types instead of polars' (large strings and lists), and no metadata."""
    schema = pa.schema([pa.field(f.name, _plain_type(f.type)) for f in table.schema])
    return table.cast(schema)


def _plain_type(t: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(t) or pa.types.is_dictionary(t):
        return pa.string()
    if pa.types.is_large_binary(t):
        return pa.binary()
    if pa.types.is_large_list(t) or pa.types.is_fixed_size_list(t):
        return pa.list_(_plain_type(t.value_type))
    if pa.types.is_struct(t):
        return pa.struct([pa.field(f.name, _plain_type(f.type)) for f in t])
    return t
