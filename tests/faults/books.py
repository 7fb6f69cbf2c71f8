"""What hub has written, read without hub: its database, its streams in the lake, the broker's passwords."""

import hashlib
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from headrace.config import Config
from headrace.lake import layout
from headrace.protocol.names import DEVICE_AUDIT, DEVICE_EVENTS, clean_topic, lake_folder
from headrace.store.open import open_store

Row = dict[str, Any]
_AUDITED = ("number", "time", "actor", "act", "target", "detail")
_TOLD = ("kind", "state", "serial", "model", "firmware", "owner", "tags", "groups")
_JSON = ("tags", "groups", "attributes")


@dataclass(frozen=True)
class Books:
    """Rows as the database has them: devices by id; the outbox and the audit log by number; passwords that live."""

    devices: dict[str, Row]
    outbox: list[Row]
    audit: list[Row]
    passwords: dict[str, str]  # by device that may come in: as the broker is to have it
    waiting: int  # rows of the outbox that Kafka was not told


def read(config: Config) -> Books:
    """The database that the configuration names, as it is now."""
    secret = config.hub.serve.database
    assert secret is not None
    url = secret.get_secret_value()
    devices = {r["id"]: r | {name: _plain(r[name]) for name in _JSON} for r in _rows(url, "SELECT * FROM devices")}
    outbox = _rows(url, "SELECT * FROM outbox ORDER BY number")
    living = _rows(url, "SELECT device, verifier FROM credentials WHERE kind = 'password' AND revoked IS NULL")
    return Books(
        devices,
        outbox,
        _rows(url, "SELECT * FROM audit ORDER BY number"),
        {r["device"]: r["verifier"] for r in living if devices[r["device"]]["state"] == "active"},
        sum(r["published"] is None for r in outbox),
    )


def _rows(url: str, sql: str) -> list[Row]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)) as lite:
            lite.row_factory = sqlite3.Row
            return [dict(row) for row in lite.execute(sql)]
    import psycopg
    from psycopg.rows import dict_row

    with psycopg.connect(url, row_factory=dict_row) as connection:
        return list(connection.execute(sql.encode()))


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def in_lake(config: Config, stream: str) -> list[Row]:
    """Every row of a stream in the lake, by its number, whatever the ledger says."""
    store, topic = open_store(config.store), clean_topic(stream)
    keys = [i.key for i in store.list(f"{lake_folder(topic)}/") if layout.parse_data_key(i.key, topic) is not None]
    found = [row for key in keys for row in pq.read_table(io.BytesIO(store.get(key))).to_pylist()]
    return sorted(found, key=lambda row: int(row["number"]))


def disagreements(books: Books, events: list[Row], audit: list[Row]) -> Iterator[str]:
    """In words, where the database and the lake's `device_events` and `device_audit` say different things."""
    numbers = sorted(int(r["number"]) for r in (*events, *audit))
    told = {int(r["number"]): r for r in books.outbox}
    if numbers != list(range(1, len(told) + 1)):
        seen = set(numbers)
        yield (
            f"{len(numbers)} rows of events and audit in the lake, {len(seen)} numbers, and {len(told)} in the "
            f"database; missing: {sorted(set(told) - seen)[:5]}, unknown: {sorted(seen - set(told))[:5]}"
        )
    if list(told) != list(range(1, len(told) + 1)):
        yield "the numbers of the outbox have a gap"
    for stream, rows in ((DEVICE_EVENTS, events), (DEVICE_AUDIT, audit)):
        for row in rows:
            kept = told.get(int(row["number"]))
            if kept is not None and (kept["stream"], kept["key"]) != (stream, row["device_id"]):
                yield f"number {row['number']} is of {kept['key']} in {kept['stream']}, and of {row['device_id']} here"
    last = {row["device_id"]: row for row in events}
    if last.keys() != books.devices.keys():
        yield f"devices of events alone, or without any: {sorted(last.keys() ^ books.devices.keys())[:5]}"
    for name, row in last.items():
        kept = books.devices.get(name, {})
        wrong = [field for field in _TOLD if row[field] != kept.get(field)]
        if wrong or json.loads(row["attributes"]) != kept.get("attributes"):
            yield f"the last event of {name} is not what the registry has: {wrong or 'attributes'}"
    entries = {int(row["entry"]): row for row in audit}
    for kept in books.audit:
        row = entries.pop(int(kept["number"]), {})
        if any(row.get(name) != kept[name] for name in ("actor", "act", "target", "detail", "previous", "hash")):
            yield f"row {kept['number']} of the audit log is another one in the lake: {kept['act']} {kept['target']}"
    if entries:
        yield f"rows of the audit log in the lake alone: {sorted(entries)[:5]}"


def broken_links(audit: list[Row]) -> Iterator[str]:
    """Where the chain of the audit log does not hold, by the rule of headrace/protocol/auditlog.py, computed anew."""
    previous = "0" * 64
    for expected, row in enumerate(audit, 1):
        words = json.dumps({name: row[name] for name in _AUDITED}, sort_keys=True, separators=(",", ":"))
        right = hashlib.sha256(previous.encode() + words.encode()).hexdigest()
        if (row["number"], row["previous"], row["hash"]) != (expected, previous, right):
            yield f"row {row['number']} of the audit log does not follow row {expected - 1}"
        previous = row["hash"]
