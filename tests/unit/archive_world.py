"""A small world for the archive: Kafka and a store that survive crashes, and processes that do not.

A process is the real service.Archive with the real Member, Reader, Commits and Work. What lies below them is made up:
the Kafka client (toy_kafka), the store, the answers of lookup.Lookup, the writer of dead letters and the clock. Jobs do
not run on threads: each runs to its end where it is given, or is held until the test lets it run. So a failure repeats.
"""

import io
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from headrace.config.model import Archive as Settings
from headrace.deadletters import KafkaSource
from headrace.kafka import Message
from headrace.lake import layout, ledger
from headrace.lake.ledger import Entry
from headrace.protocol.archive_note import ArchiveNote, decode
from headrace.protocol.wire import ORIGIN, Position, Provenance
from headrace.store.base import ObjectInfo
from processors.archive.plan import DeadRow
from processors.archive.put import WriteOnce
from processors.archive.recovery import Offsets
from processors.archive.service import Archive
from processors.archive.tables import codec_of
from processors.archive.work import Deps, Work
from processors.group.hold import Hold, JobHold
from processors.group.schemas import Schemas
from processors.group.token import Partition, Token
from tests.unit.archive_rows import ID, SCHEMA, TOPIC, placed, position_of, record, row
from tests.unit.toy_jobs import Jobs
from tests.unit.toy_kafka import Checks, Log, ToyConsumer, ToyKafka, offset

PARTITION = (TOPIC, 0)
_NEVER = 10**9
SOURCES = [Position(1, n, 0) for n in range(24)]


class Crash(BaseException):
    """The process dies here."""


class MemoryStore:
    """An object store that may die before or after any write. No file or ledger entry ever changes in it.

    Where it is not `conditional` it ignores conditions, as some servers do, and writes over what is there.
    """

    def __init__(self, world: "World") -> None:
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, bytes, bool]] = []  # every write that was begun
        self._world = world

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        self.requests.append((key, data, if_absent))
        self._world.tick()
        if self._world.crash_at and self._world.crash_at in key:
            raise Crash
        if if_absent and self._world.conditional and key in self.objects:
            return False
        if key in self.objects and key.endswith((".parquet", ".json")):
            assert not self._world.conditional, f"{key} was overwritten"
            assert self.objects[key] == data, f"{key} was overwritten with other bytes"
        self.objects[key] = data
        self._world.tick()
        return True

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def put_file(self, key: str, path: Path) -> None:
        self.put(key, path.read_bytes())

    def parts(self, key: str) -> Iterator[bytes]:
        yield self.get(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter([ObjectInfo(k, len(v), "") for k, v in sorted(self.objects.items()) if k.startswith(prefix)])

    def exists(self, key: str) -> bool:
        return key in self.objects

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def ensure_bucket(self) -> None: ...


class World:
    """What survives: the log, the commits, the store and the dead letters; and when the next crash comes."""

    conditional = True  # whether the store keeps the conditions of writes

    def __init__(self) -> None:
        self.kafka = ToyKafka()
        self.make_topic(ID)
        self.store = MemoryStore(self)
        self.until_crash = _NEVER
        self.crash_at = ""  # part of an object key
        self.crash_at_commit = 0  # which one from now on, before it is made; 0: none
        self.letters: set[KafkaSource] = set()

    def make_topic(self, topic_id: str) -> None:
        """The topic is created, or deleted and created again."""
        self.topic_id = topic_id
        self.kafka.logs[PARTITION] = Log(epoch=1)

    @property
    def log(self) -> Log:
        return self.kafka.logs[PARTITION]

    @property
    def records(self) -> list[Message]:
        return self.log.records

    @property
    def committed(self) -> tuple[int, str] | None:
        return self.kafka.committed.get(PARTITION)

    @property
    def note(self) -> ArchiveNote:
        """The note beside the committed offset."""
        assert self.committed is not None
        return decode(self.committed[1])

    def tick(self) -> None:
        self.until_crash -= 1
        if self.until_crash <= 0:
            self.until_crash = _NEVER
            raise Crash

    def calm(self) -> None:
        """No crash comes from here on."""
        self.until_crash, self.crash_at, self.crash_at_commit = _NEVER, "", 0

    def before(self, call: str) -> None:
        """A process calls Kafka: `call` is commit before one, and committed after it."""
        if call == "commit" and self.crash_at_commit:
            self.crash_at_commit -= 1
            if not self.crash_at_commit:
                raise Crash
        if call != "consume":
            self.tick()

    # what Letters does
    def write(self, token: Token, topic: str, rows: tuple[DeadRow, ...]) -> None:
        self.tick()
        self.letters |= {r.source for r in rows}
        self.tick()

    def emit(self, sources: Sequence[Position], rnd: random.Random) -> None:
        """What clean writes, with everything that happens: repeats of a stretch, strangers, offsets without records."""
        last, i = ORIGIN, 0
        while i < len(sources):
            src = sources[i]
            value = row(src.offset, rnd.choice([0, 0, 0, 1]))
            self.kafka.write(TOPIC, value, [placed(src, last)])
            last = src
            i += 1
            roll = rnd.random()
            if roll < 0.1:
                self.log.skip()  # a control record
            elif roll < 0.2:
                self.kafka.write(TOPIC, rnd.choice([None, b"stranger", row(1)]))
            elif roll < 0.3:
                i = max(0, i - rnd.randrange(4))  # clean died before it committed, and emits again
                last = sources[i - 1] if i else ORIGIN

    def emit_more(self, sources: Sequence[Position], rnd: random.Random) -> None:
        """What clean writes after what it has written: the first row's `prev` is the last row's source."""
        before = next(p for m in reversed(self.records) if (p := position_of(m)))
        first = len(self.records)
        self.emit(sources, rnd)
        here = self.records[first]
        joint = (position_of(here) or b"")[:16] + before[:16]
        self.records[first] = record(offset(here), here.value(), [Provenance(position=joint).header()])

    def entries(self) -> list[Entry]:
        keys = [k for k in sorted(self.store.objects) if layout.parse_ledger_key(k)]
        return [ledger.from_json(self.store.objects[k], k) for k in keys]

    def files(self) -> dict[str, bytes]:
        """The data files, by key, in order."""
        return {k: v for k, v in sorted(self.store.objects.items()) if k.endswith(".parquet")}

    def rows(self) -> list[dict[str, Any]]:
        """Every row of every data file."""
        return [r for data in self.files().values() for r in pq.read_table(io.BytesIO(data)).to_pylist()]

    def numbers(self) -> list[int]:
        return sorted(int(r["ax"]) for r in self.rows())


class _Client(ToyConsumer):
    """Hands out `most` messages a call at most."""

    most = _NEVER

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        return super().consume(min(num_messages, self.most), timeout)


class Process:
    """An archive process, which has been given the partition, or others."""

    def __init__(
        self, world: World, settings: Settings | None = None, partitions: Sequence[Partition] = (PARTITION,)
    ) -> None:
        self.world, self.jobs = world, Jobs()
        self._limits = settings or Settings()
        self.client = _Client(world.kafka, world.before)
        codecs = Schemas(lambda _: json.dumps(SCHEMA), codec_of)
        deps = Deps(_Lookup(world), WriteOnce(world.store, world.conditional), codecs, world)
        work = Work(self._limits, deps, JobHold(Hold(Checks(), admitted=True), "jobs"), lambda _count, _name: self.jobs)
        self._now = 0.0
        self.archive = Archive(self._limits, [TOPIC], Checks(), self.client, work, lambda: self._now)
        self.archive.__enter__()
        self.client.give(*partitions)

    def poll(self, count: int, seconds: float = 1.0) -> None:
        """One turn of the loop, so many seconds later, that reads up to `count` messages."""
        self._now += seconds
        self.client.most = count
        self.archive.turn()

    def flush(self) -> None:
        """A turn that reads nothing, and finds that everything is too old to stay in memory."""
        self._now += self._limits.max_age_seconds
        self.client.most = 0
        self.archive.turn()

    def run_dry(self) -> None:
        """Store all there is."""
        for _ in range(1000):
            self.poll(50)
            if self.client.at.get(PARTITION) == self.world.log.high and self.archive.done:
                return
            self.flush()
        raise AssertionError("the archive does not come to an end")

    def die(self) -> None:
        """The group goes on without this process, which has not left it."""
        self.client.fenced = True


class _Lookup:
    """The world as lookup.Lookup tells it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def topic_id(self, topic: str) -> str:
        return self._world.topic_id

    def offsets(self, topic: str, partition: int) -> Offsets:
        log = self._world.kafka.log(topic, partition)
        return Offsets(log.low, log.high, *self._world.kafka.committed.get((topic, partition), (None, "")))


def archive_all(world: World) -> None:
    """A process that stores all there is, and ends."""
    process = Process(world)
    try:
        process.run_dry()
    finally:
        process.die()


def world_of(seed: int, sources: Sequence[Position] = SOURCES, *, conditional: bool | None = None) -> World:
    """A world whose log has these sources."""
    world = World()
    if conditional is not None:
        world.conditional = conditional
    world.emit(sources, random.Random(seed))
    return world
