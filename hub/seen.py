"""When each device was seen last: the time at which Kafka took its latest message, from the keys of all `.raw` topics.

The messages themselves are not decoded. How far the topics were read is kept in the database, in the transaction that
notes who was seen: so nothing is missed while hub is away, unless more than BEHIND messages came into a partition.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, or_, select, update

from headrace import kafka
from headrace.config import Config
from headrace.config.behaviour import Behaviour
from headrace.errors import TransientError
from headrace.kafka.ends import log_ends
from headrace.protocol.names import DEVICE_AUDIT, DEVICE_EVENTS, raw_topic
from hub import behaviour
from hub.database import WATCHER, Database, Lead
from hub.leader import Leader
from hub.tables import devices, positions

EVERY_SECONDS = 10.0  # between two notes in the database
SILENCE_SECONDS = 60.0  # between two looks for who was not seen
STEP_SECONDS = 60.0  # who is seen all the time is noted this often
BEHIND = 1_000_000
_AT_ONCE = 10_000
_POLL_SECONDS = 1.0
_SETTINGS = {"queued_max_messages_kbytes": 8 * 1024, "fetch_min_bytes": 1024 * 1024, "fetch_wait_max_ms": 3_000}
_IDLE_SECONDS = 600.0

Part = tuple[str, int]  # topic, partition


class Message(NamedTuple):
    """What counts of a message. `at`: when Kafka took it, in microseconds since 1970 UTC."""

    part: Part
    offset: int
    device: str
    at: int


class Sight:
    """Who was seen since the last note, and how far the topics were read."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.read: dict[Part, int] = {}  # the next offset
        self._noted: dict[str, int] = {}

    def take(self, messages: Iterable[Message]) -> None:
        """Look at some messages, of each partition in order."""
        for part, offset, device, at in messages:
            self.read[part] = offset + 1
            if at > self.seen.get(device, 0):
                self.seen[device] = at

    def note(self, database: Database) -> None:
        """Write it down, in one transaction."""
        step = int(STEP_SECONDS * 1e6)
        due = {d: at for d, at in self.seen.items() if at - self._noted.get(d, 0) >= step}
        with database.write() as connection:
            if due:
                newer = or_(devices.c.last_seen.is_(None), devices.c.last_seen < bindparam("at"))
                change = update(devices).where(devices.c.id == bindparam("device"), newer)
                rows = [{"device": d, "at": at} for d, at in due.items()]
                connection.execute(change.values(last_seen=bindparam("at")), rows)
            for (topic, partition), offset in self.read.items():
                here = (positions.c.topic == topic, positions.c.partition == partition)
                connection.execute(delete(positions).where(*here))
                connection.execute(insert(positions).values(topic=topic, partition=partition, offset=offset))
        self._noted.update(due)
        self.seen = {d: at for d, at in self.seen.items() if d not in due}
        self.read.clear()


def starts(ends: dict[Part, tuple[int, int]], known: dict[Part, int]) -> dict[Part, int]:
    """Where to begin. `ends`: where each partition's log begins and ends; `known`: how far it was read.

    At the end where it was never read, or where the log does not hold what was read.
    """
    out = {}
    for part, (low, high) in ends.items():
        at = known.get(part, high)
        out[part] = at if low <= at <= high and high - at <= BEHIND else high
    return out


def watcher(config: Config, database: Database, report: Callable[[str], None]) -> Leader:
    """A thread that notes who is seen, until it is halted."""
    topics = [raw_topic(s) for s in config.streams if s not in {DEVICE_EVENTS, DEVICE_AUDIT}]

    def work(lead: Lead, halt: threading.Event) -> None:
        found = kafka.describe(config.kafka, topics)
        if missing := sorted(set(topics) - set(found)):
            raise TransientError(f"Kafka has no topic {', '.join(missing)} yet; `headrace provision` creates them")
        ends = log_ends(config.kafka, [(t, p) for t, info in found.items() for p in range(info.partitions)])
        begin = starts(ends, _known(database))
        client = kafka.consumer(config.kafka, "headrace-hub", **_SETTINGS)
        try:
            client.assign([kafka.TopicPartition(t, p, at) for (t, p), at in begin.items()])
            _watch(client, Noted(database, config.hub.behaviour), report, lead, halt)
        finally:
            client.close()

    return Leader("last seen", database, WATCHER, work, report)


class Noted:
    """The database, told from time to time who was seen; it then tells who has not been."""

    def __init__(self, database: Database, rules: Behaviour) -> None:
        self._database, self._rules = database, rules
        self._at = self._looked = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() - self._at >= EVERY_SECONDS

    def note(self, sight: Sight) -> None:
        """Write down who was seen."""
        if sight.read:
            sight.note(self._database)
        self._at = time.monotonic()
        if self._at - self._looked >= SILENCE_SECONDS:
            behaviour.look(self._database, self._rules)
            self._looked = self._at


def _watch(
    client: kafka.Consumer, notes: Noted, report: Callable[[str], None], lead: Lead, halt: threading.Event
) -> None:
    sight, heard = Sight(), time.monotonic()
    while not halt.is_set():
        found = client.consume(_AT_ONCE, timeout=_POLL_SECONDS)
        sight.take(_messages(found))
        heard = time.monotonic() if found else heard
        if time.monotonic() - heard > _IDLE_SECONDS:
            return  # to begin again with a new client: one that lost all brokers may never find them again
        if not notes.due:
            continue
        if not lead.held():
            raise TransientError("another hub notes who is seen now")
        notes.note(sight)
        report("")


def _messages(found: list[kafka.Message]) -> Iterable[Message]:
    for m in found:
        error = m.error()
        if error is not None:
            raise kafka.translate(error, "reading who was seen")
        key = m.key()
        device = key.decode("utf-8", "replace") if isinstance(key, bytes) else ""
        yield Message((m.topic() or "", m.partition() or 0), m.offset() or 0, device, m.timestamp()[1] * 1000)


def _known(database: Database) -> dict[Part, int]:
    with database.read() as connection:
        return {(topic, number): offset for topic, number, offset in connection.execute(select(positions))}
