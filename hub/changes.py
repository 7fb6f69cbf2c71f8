"""A change of hub's state: what it writes, what Kafka is to be told of it and who did it are one transaction."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, insert, select, update

from headrace.protocol.auditlog import FIRST, canonical, entry
from headrace.protocol.names import DEVICE_AUDIT, DEVICE_EVENTS
from hub import tables
from hub.database import Database

NOBODY = "headrace-hub"  # the key of an act that is about no single device


class Change:
    """One transaction, by one actor, at one moment (`now`, in microseconds since 1970 UTC)."""

    def __init__(self, connection: Connection, actor: str, now: int) -> None:
        self.connection, self.actor, self.now = connection, actor, now

    def tell(self, event: str, devices: Sequence[dict[str, Any]], rule: dict[str, Any] | None = None) -> None:
        """Tell the stream of events that `event` happened to each of `devices`, given as they are now.

        `rule`: the rule, value and limit of an event of behaviour.
        """
        more: dict[str, Any] = {} if rule is None else {"rule": rule}
        told = [(d["id"], {"event": event, "actor": self.actor, "device": d, **more}) for d in devices]
        self._put(DEVICE_EVENTS, told)

    def record(self, act: str, target: str, detail: dict[str, Any] | None = None, *, key: str = "") -> None:
        """Write into the audit log that the actor did this to `target`: a device, or else with NOBODY as the key."""
        log = tables.audit
        number = self.take("audit")
        previous = self.connection.execute(select(log.c.hash).where(log.c.number == number - 1)).scalar() or FIRST
        row = entry(number, self.now, self.actor, act, target, detail or {}, previous)._asdict()
        self.connection.execute(insert(log).values(row))
        self._put(DEVICE_AUDIT, [(key or target, row)])

    def broker(self) -> int:
        """Say that the broker's passwords have changed; returns their version."""
        return self.take("broker")

    def take(self, counter: str, count: int = 1) -> int:
        """The last of `count` further numbers of a counter."""
        meta = tables.meta
        more = update(meta).where(meta.c.name == counter).values(number=meta.c.number + count)
        return int(self.connection.execute(more.returning(meta.c.number)).scalar_one())

    def set(self, counter: str, number: int) -> None:
        """Set a counter."""
        meta = tables.meta
        self.connection.execute(update(meta).where(meta.c.name == counter).values(number=number))

    def _put(self, stream: str, messages: Sequence[tuple[str, dict[str, Any]]]) -> None:
        if not messages:
            return
        first = self.take("outbox", len(messages)) - len(messages) + 1
        rows = [
            {"number": first + n, "stream": stream, "key": key, "published": None,
             "payload": canonical({**payload, "at": self.now})}
            for n, (key, payload) in enumerate(messages)
        ]  # fmt: skip
        self.connection.execute(insert(tables.outbox), rows)


@contextmanager
def change(database: Database, actor: str) -> Iterator[Change]:
    """A change, committed at the end of the block as a whole; undone as a whole when the block raises."""
    with database.write() as connection:
        yield Change(connection, actor, time.time_ns() // 1000)


def counter(connection: Connection, name: str) -> int:
    """The number where a counter stands."""
    meta = tables.meta
    return int(connection.execute(select(meta.c.number).where(meta.c.name == name)).scalar_one())
