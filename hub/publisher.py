"""Tells Kafka what stands in the outbox: at least once, in order.

1. Read the first rows that Kafka was not told.
2. Produce them, and wait until Kafka has all of them.
3. Note in the database that it has them.
After a crash between 2 and 3 they are produced again: with the same numbers, and the same event ids, by which clean
drops them. Of several hubs on one PostgreSQL the one that holds the lock publishes.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from headrace.errors import TransientError
from headrace.runtime.metrics import HUB_PUBLISHED
from hub import outbox
from hub.database import PUBLISHER, Database, Lead
from hub.leader import Leader
from hub.outbox import Row

_LOOK_SECONDS = 0.5  # between two looks into an empty outbox


class Sink(Protocol):
    """Kafka, as the publisher sees it."""

    def send(self, rows: Sequence[Row]) -> None:
        """Returns when Kafka has all rows, in this order. TransientError: it may have some of them."""

    def close(self) -> None:
        """Forget what was not sent."""


def step(database: Database, sink: Sink) -> int:
    """Publish the first rows of the outbox; returns how many. Errors of the sink and the database come through."""
    rows = outbox.waiting(database)
    if rows:
        sink.send(rows)
        outbox.told(database, rows[-1].number)
        for row in rows:
            HUB_PUBLISHED.labels(row.stream).inc()
    return len(rows)


def publisher(database: Database, connect: Callable[[], Sink], report: Callable[[str], None]) -> Leader:
    """A thread that publishes until it is halted; then it publishes what is there, if Kafka takes it, and ends.

    `connect` makes a Sink, or raises TransientError while a server is away.
    """

    def work(lead: Lead, halt: threading.Event) -> None:
        sink = connect()
        try:
            while True:
                last = halt.is_set()
                if not lead.held():
                    raise TransientError("another hub publishes now")
                count = step(database, sink)
                report("")
                if count == 0 and (last or halt.wait(_LOOK_SECONDS)):
                    return
        finally:
            sink.close()

    return Leader("publishing", database, PUBLISHER, work, report)
