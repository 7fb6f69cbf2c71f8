"""A table as the bytes of a Parquet file: the same bytes for the same rows, schema and level."""

import io
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.protocol import provenance

ROW_GROUP = 131_072


def write(row_groups: Iterable[pa.Table], level: int) -> bytes:
    """Parquet with zstd at `level` and statistics in each row group. Nothing in it depends on when it was written.

    At least one group, each of ROW_GROUP rows but the last; no more than one is needed in memory at a time.
    """
    sink = io.BytesIO()
    groups = iter(row_groups)
    first = next(groups)
    schema: pa.Schema = first.schema
    text = [f.name for f in schema if pa.types.is_string(f.type) or f.name == provenance.PARTITION.name]
    # Offsets and times climb slowly: differences are a fraction of a dictionary.
    steps = {f.name: "DELTA_BINARY_PACKED" for f in schema if pa.types.is_integer(f.type) and f.name not in text}
    steps |= {f.name: "DELTA_BINARY_PACKED" for f in schema if pa.types.is_timestamp(f.type)}
    with pq.ParquetWriter(
        sink,
        schema,
        version="2.6",
        compression="zstd",
        compression_level=level,
        use_dictionary=text,
        column_encoding=steps or None,
        write_statistics=True,
        store_schema=False,
    ) as out:
        out.write_table(first, row_group_size=ROW_GROUP)
        del first
        for group in groups:
            out.write_table(group, row_group_size=ROW_GROUP)
    return sink.getvalue()


def same_rows(a: bytes, b: bytes) -> bool:
    """Whether two Parquet files hold the same rows, whatever library version wrote them. NaN equals NaN."""
    if a == b:
        return True
    try:
        one, two = (pq.read_table(io.BytesIO(it), use_threads=False) for it in (a, b))
    except (pa.ArrowInvalid, OSError):
        return False
    if one.schema.names != two.schema.names or one.num_rows != two.num_rows or one.schema.types != two.schema.types:
        return False
    return all(_same(one.column(i), two.column(i)) for i in range(one.num_columns))


def origins(data: bytes) -> pa.Table:
    """The columns of a data file that say where its rows came from: `_offset`, and the three of their source."""
    return pq.read_table(
        io.BytesIO(data), columns=[provenance.OFFSET.name, *provenance.SOURCE_NAMES], use_threads=False
    )


def _same(a: pa.ChunkedArray, b: pa.ChunkedArray) -> bool:
    if pa.types.is_floating(a.type):
        return np.array_equal(a.to_numpy(), b.to_numpy(), equal_nan=True) and a.null_count == b.null_count
    return bool(a.equals(b))
