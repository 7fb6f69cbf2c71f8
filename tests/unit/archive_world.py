"""A small world for the archive: a log, commits and a store that survive crashes, and a process that does not."""

import io
import json
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar, cast

import fastavro
import pyarrow.parquet as pq

from headrace.config.model import Archive
from headrace.errors import FatalError
from headrace.health import Health
from headrace.intent import Note, encode
from headrace.lake import layout, ledger
from headrace.lake.ledger import Entry
from headrace.store.base import ObjectInfo
from headrace.wire import ORIGIN, Headers, Position, frame, pack_position
from processors.archive.buffer import Chunk, take
from processors.archive.commit import Token
from processors.archive.partition import Partition
from processors.archive.patience import Patience
from processors.archive.plan import DeadRow, Place, Plan, Span
from processors.archive.rotation import Cause
from processors.archive.schemas import Schemas
from processors.archive.work import Kit, Standing, Work

T = TypeVar("T")
TOPIC, ID = "imu.clean", "AAAAAAAAAAAAAAAAAAAAAA"
SCHEMA_ID = 7
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "imu",
    "fields": [
        {"name": "device_id", "type": "string"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "ax", "type": "double"},
        {"name": "_quality", "type": ["null", "string"], "default": None},
    ],
}
DAY = 86_400_000_000
_PARSED = fastavro.parse_schema(SCHEMA)


class Crash(Exception):  # noqa: N818
    """The process dies here."""


class FakeMessage:
    """What the archive reads of a confluent_kafka.Message."""

    def __init__(self, offset: int, epoch: int, value: bytes | None, headers: Headers) -> None:
        self._offset, self._epoch, self._value, self._headers = offset, epoch, value, headers

    def offset(self) -> int:
        return self._offset

    def leader_epoch(self) -> int:
        return self._epoch

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Headers:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return (2, 1_700_000_000_000 + self._offset)


def row(number: int, day: int = 0, schema_id: int = SCHEMA_ID) -> bytes:
    """A framed reading that says its number."""
    out = io.BytesIO()
    fastavro.schemaless_writer(
        out, _PARSED, {"device_id": "d", "event_time": day * DAY + number, "ax": float(number), "_quality": None}
    )
    return frame(schema_id, out.getvalue())


def chunk_of(messages: Sequence[FakeMessage]) -> Chunk:
    return take(cast("Any", list(messages)))


class MemoryStore:
    """An object store that may die before or after any write."""

    def __init__(self, world: "World") -> None:
        self.objects: dict[str, bytes] = {}
        self._world = world

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        self._world.tick()
        if self._world.crash_at and self._world.crash_at in key:
            raise Crash
        if if_absent and key in self.objects:
            return False
        assert not (key in self.objects and key.endswith((".parquet", ".json"))), f"{key} was overwritten"
        self.objects[key] = data
        self._world.tick()
        return True

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter([ObjectInfo(k, len(v), "") for k, v in sorted(self.objects.items()) if k.startswith(prefix)])

    def exists(self, key: str) -> bool:
        return key in self.objects

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def ensure_bucket(self) -> None: ...


class World:
    """What survives: the log, the commits and the store; and when the next crash comes."""

    def __init__(self) -> None:
        self.log: list[FakeMessage] = []
        self.low = 0
        self.end = 0  # of the log, where it ends with control records
        self.committed: tuple[int, str] | None = None
        self.topic_id = ID
        self.store = MemoryStore(self)
        self.until_crash = 10**9
        self.crash_at = ""  # part of an object key
        self.letters: set[tuple[Any, ...]] = set()

    @property
    def high(self) -> int:
        return max(self.end, self.log[-1].offset() + 1 if self.log else 0)

    def tick(self) -> None:
        self.until_crash -= 1
        if self.until_crash <= 0:
            self.until_crash = 10**9
            raise Crash

    def of(self, topic: str, partition: int = 0) -> Any:
        """Both the topic's id and a partition's positions, as headrace's Kafka would tell them."""
        offset, metadata = self.committed or (None, "")
        return self.low, self.high, offset, metadata

    def write(self, token: Token, topic: str, rows: tuple[DeadRow, ...]) -> None:
        self.tick()
        self.letters |= {tuple(sorted(r.source.items())) for r in rows}
        self.tick()

    def emit(self, sources: Sequence[Position], rnd: random.Random) -> None:
        """What clean writes, with everything that happens: repeats of a stretch, strangers, offsets without records."""
        last, offset, i = ORIGIN, self.high, 0
        while i < len(sources):
            src = sources[i]
            self.log.append(
                FakeMessage(
                    offset, 1, row(src.offset, rnd.choice([0, 0, 0, 1])), [("position", pack_position(src, last))]
                )
            )
            offset += 1
            last = src
            i += 1
            roll = rnd.random()
            if roll < 0.1:
                offset += 1  # a control record
            elif roll < 0.2:
                self.log.append(FakeMessage(offset, 1, rnd.choice([None, b"stranger", row(1)]), []))
                offset += 1
            elif roll < 0.3:
                i = max(0, i - rnd.randrange(4))  # clean died before it committed, and emits again
                last = sources[i - 1] if i else ORIGIN
        self.end = offset

    def entries(self) -> list[Entry]:
        keys = [k for k in sorted(self.store.objects) if layout.parse_ledger_key(k)]
        return [ledger.from_json(self.store.objects[k], k) for k in keys]

    def rows(self) -> list[dict[str, Any]]:
        """Every row of every data file."""
        out = []
        for key, data in self.store.objects.items():
            if key.endswith(".parquet"):
                out += pq.read_table(io.BytesIO(data)).to_pylist()
        return out

    def numbers(self) -> list[int]:
        return sorted(int(r["ax"]) for r in self.rows())


class _Id:
    def __init__(self, world: World) -> None:
        self._world = world

    def of(self, topic: str) -> str:
        return self._world.topic_id


class _Health:
    def ready(self, check: str, ok: bool, why: str = "") -> None: ...


class Process:
    """An archive process with one partition, whose jobs run when they are asked for."""

    def __init__(self, world: World, settings: Archive | None = None) -> None:
        self.world = world
        patience = Patience(cast("Health", _Health()))
        kit = Kit(_Id(world), world, world.store, Schemas(lambda _: json.dumps(SCHEMA)), world)
        self.work = Work(settings or Archive(uploads=1), kit, patience, conditional=True)
        self.place: int | None = None
        self.paused = False
        self.stored: list[Plan] = []
        self.partition = Partition(TOPIC, 0, self, self)

    # the jobs, at once
    def recover(self, token: Token, topic: str, partition: int) -> Future[Standing]:
        return _now(self.work._recover(token, topic, partition))

    def prepare(
        self, token: Token, place: Place, note: Note, span: Span, chunks: Sequence[Chunk]
    ) -> Future[list[Plan]]:
        return _now(self.work._prepare(token, place, note, span, chunks))

    def store(self, token: Token, plan: Plan) -> Future[Entry]:
        self.stored.append(plan)
        return _now(self.work._store_batch(token, plan))

    # the consumer
    def assign(self, topic: str, partition: int, offset: int) -> None:
        if not self.world.low <= offset <= self.world.high:
            raise FatalError("offset out of range")
        self.place = offset

    def pause(self, topic: str, partition: int) -> None:
        self.paused = True

    def resume(self, topic: str, partition: int) -> None:
        self.paused = False

    def commit(self, token: Token, topic: str, partition: int, offset: int, note: Note) -> None:
        token.check()
        self.world.tick()
        self.world.committed = (offset, encode(note))
        self.world.tick()

    def poll(self, count: int, now: float) -> None:
        """One turn of the loop: read up to `count` messages, go on with what is done."""
        if self.place is not None and not self.paused:
            found = [m for m in self.world.log if m.offset() >= self.place][:count]
            if found:
                self.place = found[-1].offset() + 1
                self.partition.add(chunk_of(found), now)
            else:
                self.place = self.world.high
                self.partition.end_of_log(self.world.high, now)
        self.partition.step(now)

    def flush(self) -> None:
        self.partition.flush(Cause.IDLE)

    def run_dry(self) -> None:
        """Store all there is."""
        for turn in range(1000):
            self.poll(50, turn)
            here = self.partition
            if self.place == self.world.high and not (here.busy or here.buffered or here.gap or here.replaying):
                return
            self.flush()
        raise AssertionError("the archive does not come to an end")

    def close(self) -> None:
        self.work.close()


def archive_all(world: World) -> None:
    """A process that stores all there is, and ends."""
    process = Process(world)
    try:
        process.run_dry()
    finally:
        process.close()


def _now(result: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(result)
    return future
