"""The views that SQL sees: one for each stream, one for each further topic that is archived."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from headrace.config import Config
from headrace.contracts.avro import Node
from headrace.contracts.files import find
from headrace.contracts.model import Contract
from headrace.contracts.sqlnames import is_word, quoted
from headrace.errors import ConfigError
from headrace.lake import devices, remote, united, withdevices, withfiles
from headrace.protocol import provenance
from headrace.protocol.names import (
    DEVICE,
    DEVICE_EVENTS,
    LETTERS_TABLE,
    QUALITY,
    TIME,
    clean_topic,
    stream_of,
)

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
_SQL = {
    "string": "VARCHAR",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "timestamp": "TIMESTAMPTZ",
    "binary16": "BLOB",
    "date": "DATE",
}
_ALWAYS = {DEVICE: "VARCHAR", TIME: "TIMESTAMPTZ", QUALITY: "VARCHAR"}
_PROVENANCE = {c.name: _SQL[c.kind] for c in (*provenance.COLUMNS, provenance.DATE)}
# SQL that asks which tables there are, rather than for a stream by name.
_CATALOGUE = re.compile(r"\b(show|information_schema|duckdb_\w+|pg_catalog|pragma_\w+|sqlite_master)\b", re.IGNORECASE)


def create(lake: "duckdb.DuckDBPyConnection", cfg: Config, sql: str, empty: Callable[[str], None]) -> None:
    """Make a view for each archived topic whose stream `sql` names. Listing the files of others would take time.

    The stream `imu` is the view imu; its raw topic, if archived, is imu.raw. The view of a stream has the rows of those
    that follow it, too. `empty` gets the names without rows. The dead letters are dead_letters, unless a stream is
    called so. The view imu_with_devices has the readings of imu with what was known of their devices.
    """
    joined = [s for s in cfg.streams if (j := s + withdevices.SUFFIX) not in cfg.streams and _is_named(sql, j)]
    needed = {*map(clean_topic, joined), *([clean_topic(DEVICE_EVENTS)] if joined else [])}
    catalogue = _CATALOGUE.search(sql) is not None
    for topic in _topics(cfg):
        stream = stream_of(topic)
        if not (catalogue or topic in needed or _is_named(sql, stream)):
            continue
        name = f'"{stream}"'
        if topic != clean_topic(stream):
            suffix = topic.removeprefix(stream).lstrip(".")
            lake.execute(f'CREATE SCHEMA IF NOT EXISTS "{stream}"')
            name = f'"{stream}"."{suffix}"' if suffix else f'"{topic}"'
        lineage = cfg.lineage(stream) if topic == clean_topic(stream) and stream in cfg.streams else ()
        topics = {s: clean_topic(s) for s in lineage} if len(lineage) > 1 else {stream: topic}
        bodies = {s: _stored(lake, cfg, t) for s, t in topics.items()}
        of_files = [f for s in lineage if (f := cfg.files_of(s))]
        filed = {f: rows for f in of_files if (rows := _stored(lake, cfg, clean_topic(f)))}
        if not any(bodies.values()) and not filed and not catalogue:
            empty(name.replace('"', ""))
        body = _united(cfg, bodies) if len(bodies) > 1 else bodies[stream] or _empty(contract_of(cfg, stream))
        if of_files:
            body = _with_files(cfg, body, filed)
        elif not bodies.get(stream) and stream in cfg.streams and cfg.streams[stream].of_files:
            body = withfiles.none(body)
        lake.execute(f"CREATE VIEW {name} AS {body}")
    for stream in joined:
        lake.execute(_with_devices(lake, cfg, stream))
    if LETTERS_TABLE not in cfg.streams and re.search(rf"\b{LETTERS_TABLE}\b", sql, re.IGNORECASE):
        from headrace.lake import letters
        from headrace.store.open import open_store

        lake.register(LETTERS_TABLE, letters.table(letters.records(cfg, open_store(cfg.store))))


def _with_files(cfg: Config, body: str, filed: Mapping[str, str]) -> str:
    """The rows of `body`, with those of files beside them. `filed`: what `_stored` gives of the streams of files."""
    out = withfiles.none(body)
    for name, rows in filed.items():
        contract = contract_of(cfg, name)
        live, of_files = (f"{part} UNION ALL BY NAME {_empty(contract)}" for part in (body, rows))
        out += f" UNION ALL BY NAME {withfiles.beside(of_files, live, devices.numbering(contract))}"
    return out


def _with_devices(lake: "duckdb.DuckDBPyConnection", cfg: Config, stream: str) -> str:
    columns = [column for column, *_ in lake.execute(f"DESCRIBE {remote.name(stream)}").fetchall()]
    events = remote.name(DEVICE_EVENTS) if DEVICE_EVENTS in cfg.streams else f"({_empty(find(DEVICE_EVENTS))})"
    body = withdevices.view(stream, columns, events)
    return f"CREATE VIEW {remote.name(stream + withdevices.SUFFIX)} AS {body}"


def _is_named(sql: str, stream: str) -> bool:
    """Whether `sql` may name the stream: one that is called as a word of SQL, such as order, in double quotes only."""
    word = f'"{stream}"' if is_word(stream) else rf"\b{re.escape(stream)}\b"
    return re.search(word, sql, re.IGNORECASE) is not None


def names(cfg: Config) -> list[str]:
    """The tables that SQL may name, such as imu and imu.raw."""
    streams = [stream_of(topic) if topic == clean_topic(stream_of(topic)) else topic for topic in _topics(cfg)]
    return list(dict.fromkeys(map(quoted, [*streams, LETTERS_TABLE])))


def _topics(cfg: Config) -> list[str]:
    """Every stream's clean topic, and what else is archived."""
    return list(dict.fromkeys([*map(clean_topic, cfg.streams), *cfg.archive.topics]))


def contract_of(cfg: Config, stream: str) -> Contract | None:
    """The contract of a stream; None when the stream is not configured or has no contract."""
    if stream not in cfg.streams:
        return None
    try:
        return find(cfg.contract_of(stream), cfg.contracts)
    except ConfigError:
        return None


def _stored(lake: "duckdb.DuckDBPyConnection", cfg: Config, topic: str) -> str:
    """The SELECT over the topic's files that count; empty when there are none.

    The files of one schema id have the same columns, so one footer describes them all; only the ids are united
    by column name. `union_by_name` over all files would read every footer first.
    """
    root = remote.root(cfg.store)
    parts = []
    for files in remote.visible(lake, root, topic).by_schema().values():
        names = ", ".join(remote.literal(f"{root}/{f.key}") for f in files)
        parts.append(f"FROM read_parquet([{names}], hive_partitioning = true, hive_types = {{'date': 'DATE'}})")
    out = " UNION ALL BY NAME ".join(parts)
    stream = cfg.streams.get(stream_of(topic))
    if out and stream is not None and stream.of_files and topic == clean_topic(stream_of(topic)):
        out = withfiles.rows(out, remote.names(lake, root, withfiles.RETIRED))
    return out


def _united(cfg: Config, bodies: Mapping[str, str]) -> str:
    """The SELECT of the rows of several streams, with the columns of all. `bodies`: what `_stored` gives of each."""
    contracts = {s: contract_of(cfg, s) for s in bodies}
    apart = united.renamed(contracts)
    parts = []
    for stream, body in bodies.items():
        all_columns = " UNION ALL BY NAME ".join(filter(None, (body, _empty(contracts[stream]))))
        names = ", ".join(f'"{old}" AS "{new}"' for old, new in apart.get(stream, {}).items())
        parts.append(f"SELECT *{f' RENAME ({names})' if names else ''} FROM ({all_columns})")  # noqa: S608 - names are checked
    return " UNION ALL BY NAME ".join(parts)


def _empty(contract: Contract | None) -> str:
    """A SELECT with the contract's columns, or those that every contract has, and no rows."""
    fields = {f.name: sql_type(f.type) for f in contract.fields} if contract is not None else _ALWAYS
    columns = {**fields, **_PROVENANCE}
    return "SELECT " + ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns.items()) + " WHERE false"


def sql_type(node: Node) -> str:
    """The type of a column in DuckDB, for values of an Avro type."""
    if (node.logical or "").startswith("timestamp-"):
        return "TIMESTAMPTZ"
    if node.precision:
        return f"DECIMAL({node.precision}, {node.scale})"
    if node.items is not None:
        return f"{sql_type(node.items)}[]"
    if node.kind == "record":
        inner = ", ".join(f'"{m.name}" {sql_type(m.type)}' for m in node.members)
        return f"STRUCT({inner})"
    return _SIMPLE[node.kind]
