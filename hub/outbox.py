"""What Kafka is still to be told: rows in the order of the commits, and a note of those that Kafka has."""

import time
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, delete, select, update

from hub.database import Database
from hub.tables import outbox

AT_ONCE = 500
KEEP_DAYS = 7.0  # rows that Kafka has


class Row(NamedTuple):
    """Something to tell. Numbers are 1, 2, 3, without a gap, in the order of the commits."""

    number: int
    stream: str
    key: str
    payload: dict[str, Any]


def waiting(database: Database, most: int = AT_ONCE) -> list[Row]:
    """The first rows that Kafka was not told."""
    found = select(outbox.c.number, outbox.c.stream, outbox.c.key, outbox.c.payload)
    found = found.where(outbox.c.published.is_(None)).order_by(outbox.c.number).limit(most)
    with database.read() as connection:
        return [Row(number, stream, key, orjson.loads(text)) for number, stream, key, text in connection.execute(found)]


def told(database: Database, last: int) -> None:
    """Note that Kafka has all rows up to number `last`."""
    now = time.time_ns() // 1000
    with database.write() as connection:
        rows = (outbox.c.published.is_(None), outbox.c.number <= last)
        connection.execute(update(outbox).where(*rows).values(published=now))
        _prune(connection, now)


def _prune(connection: Connection, now: int) -> None:
    old = (outbox.c.published.is_not(None), outbox.c.published < now - int(KEEP_DAYS * 86400e6))
    connection.execute(delete(outbox).where(*old))
