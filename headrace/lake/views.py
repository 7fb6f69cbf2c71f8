"""The views that SQL sees: one for each stream, one for each further topic that is archived."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from headrace.config import Config
from headrace.contracts.files import find
from headrace.contracts.model import Contract, Field
from headrace.errors import ConfigError
from headrace.lake import layout, remote
from headrace.names import clean_topic, stream_of

if TYPE_CHECKING:
    import duckdb

_SIMPLE = {
    "double": "DOUBLE",
    "float": "FLOAT",
    "int": "INTEGER",
    "long": "BIGINT",
    "string": "VARCHAR",
    "enum": "VARCHAR",
    "boolean": "BOOLEAN",
    "bytes": "BLOB",
    "fixed": "BLOB",
}
_PROVENANCE = {
    "_topic": "VARCHAR",
    "_partition": "INTEGER",
    "_offset": "BIGINT",
    "_kafka_time": "TIMESTAMPTZ",
    "_src_epoch": "INTEGER",
    "_src_offset": "BIGINT",
    "_src_index": "INTEGER",
    "_event_id": "BLOB",
    "_received_at": "TIMESTAMPTZ",
    "date": "DATE",
}
# SQL that asks what there is, rather than for a stream by name.
_CATALOGUE = re.compile(r"\b(show|information_schema|duckdb_\w+|pg_catalog|pragma_\w+|sqlite_master)\b", re.IGNORECASE)


def create(lake: "duckdb.DuckDBPyConnection", cfg: Config, sql: str, empty: Callable[[str], None]) -> None:
    """Make a view for each archived topic whose stream `sql` names: to list the files of all would take time.

    A stream `imu` is the view imu; its raw topic, where it is archived, imu.raw. `empty` hears of those without rows.
    """
    catalogue = _CATALOGUE.search(sql) is not None
    for topic in _topics(cfg):
        stream = stream_of(topic)
        if not (catalogue or re.search(rf"\b{re.escape(stream)}\b", sql, re.IGNORECASE)):
            continue
        name = f'"{stream}"'
        if topic != clean_topic(stream):
            suffix = topic.removeprefix(stream).lstrip(".")
            lake.execute(f'CREATE SCHEMA IF NOT EXISTS "{stream}"')
            name = f'"{stream}"."{suffix}"' if suffix else f'"{topic}"'
        body = _stored(lake, cfg, topic)
        if not body and not catalogue:
            empty(name.replace('"', ""))
        lake.execute(f"CREATE VIEW {name} AS {body or _empty(contract_of(cfg, stream))}")


def _topics(cfg: Config) -> list[str]:
    """Every stream's clean topic, and what else is archived."""
    return list(dict.fromkeys([*map(clean_topic, cfg.streams), *cfg.archive.topics]))


def contract_of(cfg: Config, stream: str) -> Contract | None:
    """The contract of a stream; None where it isn't configured, or its contract isn't there."""
    if stream not in cfg.streams:
        return None
    try:
        return find(cfg.contract_of(stream), cfg.contracts)
    except ConfigError:
        return None


def _stored(lake: "duckdb.DuckDBPyConnection", cfg: Config, topic: str) -> str:
    """The SELECT over the topic's files; empty where there are none.

    The files of one schema id have the same columns, so that one footer tells them all; only ids are put together
    by column name. `union_by_name` over all files would read every footer first.
    """
    root = f"{remote.literal(remote.root(cfg.store))[1:-1]}/{layout.folder(topic)}"
    found = lake.execute(
        "SELECT DISTINCT regexp_extract(file, '-s(\\d+)\\.parquet$', 1) AS id FROM glob(?) ORDER BY id",
        [f"{root}/date=*/*.parquet"],
    ).fetchall()
    parts = [
        f"FROM read_parquet('{root}/date=*/*-s{schema_id}.parquet', hive_partitioning = true, "
        "hive_types = {'date': DATE})"
        for (schema_id,) in found
        if schema_id
    ]
    return " UNION ALL BY NAME ".join(parts)


def _empty(contract: Contract | None) -> str:
    """A SELECT with the contract's columns and no rows."""
    fields = contract.fields if contract is not None else ()
    columns = {**{f.name: sql_type(f) for f in fields}, **_PROVENANCE}
    return "SELECT " + ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns.items()) + " WHERE false"


def sql_type(f: Field) -> str:
    """The type of a field's column in DuckDB."""
    return "".join(_type(f.schema))


def _type(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        yield from _type(next((s for s in schema if s != "null"), "null"))
    elif isinstance(schema, str):
        yield _SIMPLE.get(schema, "VARCHAR")
    elif str(schema.get("logicalType", "")).startswith("timestamp-"):
        yield "TIMESTAMPTZ"
    elif schema.get("logicalType") == "decimal":
        yield f"DECIMAL({schema['precision']}, {schema.get('scale', 0)})"
    elif schema["type"] == "array":
        yield from _type(schema["items"])
        yield "[]"
    elif schema["type"] == "record":
        inner = ", ".join(f'"{f["name"]}" {"".join(_type(f["type"]))}' for f in schema["fields"])
        yield f"STRUCT({inner})"
    else:
        yield from _type(schema["type"])
