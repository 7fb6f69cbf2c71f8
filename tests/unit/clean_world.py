"""A small world for what relays one topic to another: logs and commits that survive crashes, and processes that do not.

The real loop, step, emitter, notes and commits run on a toy Kafka. `tick` counts what a process does to Kafka, and the
process dies where the count runs out.
"""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from headrace import kafka
from headrace.config import Config
from headrace.config.connect import Kafka
from headrace.contracts.model import parse
from headrace.errors import FatalError, HeadraceError, PoisonError, Reason
from headrace.kafka import Message, TopicInfo, columns
from headrace.protocol.clean_note import CleanNote, decode
from headrace.protocol.wire import (
    EVENT_ID_BYTES,
    HAS_POSITION,
    ORIGIN,
    Headers,
    Position,
    Provenance,
    header,
    provenance,
    unpack_position,
)
from headrace.runtime import backoff
from headrace.schema_registry.client import Registry
from headrace.transforms.code import Code
from headrace.transforms.run import Failure, Result
from headrace.transforms.table import Columns
from processors.avro.codec import Codec
from processors.clean import service, snapshots, transforms
from processors.clean.service import Cleaner
from processors.clean.snapshot import UnreadableError
from processors.copy.service import Copier
from processors.group import beginning, hold, relay, topics
from processors.group.relay import Relay, Settings, Step
from processors.group.token import Partition
from processors.group.topics import Pair
from processors.positions import new_rows, sources
from processors.provenance import has, marks
from tests.unit.toy_kafka import Checks, ToyConsumer, ToyKafka, ToyProducer, offset

SCHEMA_ID = 7
CONTRACT = parse(
    "toy",
    json.dumps({
        "type": "record",
        "name": "toy",
        "fields": [
            {"name": "device_id", "type": "string"},
            {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}, "minimum": 1},
            {
                "name": "x", "type": ["null", "double"], "default": None, "sentinels": [-200], "max_step": 5,
                "max_stuck": 3, "on_violation": {"max_step": "null", "max_stuck": "flag"},
            },
            {"name": "_quality", "type": ["null", "string"], "default": None},
        ],
    }),
    "toy",
)  # fmt: skip
CODEC = Codec(CONTRACT.schema)
LOOKBACK = 4
RAW, CLEAN, COPY, LETTERS = "toy.raw", "toy.clean", "toy_copy.clean", "dead-letters"
PARTITIONS = [(RAW, 0), (RAW, 1)]
BASE: dict[str, Any] = {"device_id": "d", "event_time": 1_700_000_000_000_000, "x": 20.0, "_quality": None}
KINDS = {
    "good": CODEC.write(SCHEMA_ID, BASE),
    "far": CODEC.write(SCHEMA_ID, BASE | {"x": 90.0}),  # from the others: which row is changed depends on the log
    "changed": CODEC.write(SCHEMA_ID, BASE | {"x": -200.0}),
    "refused": CODEC.write(SCHEMA_ID, BASE | {"event_time": 0}),
    "junk": b"junk",
    "empty": None,
}
REFUSED = {"refused", "junk", "empty"}


class Crash(Exception):  # noqa: N818
    """The process dies here."""


class World:
    """What survives: logs, committed offsets; and when the next crash comes."""

    def __init__(self) -> None:
        self.kafka = ToyKafka()
        self.until_crash = 10**9
        self.kinds: dict[tuple[Partition, int, int], str] = {}  # what lies at (partition, epoch, offset)
        self.topic_id = "A" * 22
        self.store: dict[str, bytes] = {}
        self.schemas = {SCHEMA_ID: CONTRACT.text}  # of the registry

    def put_under(self, patch: pytest.MonkeyPatch) -> None:
        """Put more of the toy under the code, in a world that has more."""

    def write(self, partition: Partition, kinds: list[tuple[str, int]]) -> None:
        """Raw records of these kinds and event ids (0: none); `gap` is an offset without a record."""
        log = self.kafka.log(*partition)
        for kind, event in kinds:
            if kind == "gap":
                log.skip()
                continue
            self.kinds[partition, log.epoch, log.high] = kind
            headers: Headers = [Provenance(event.to_bytes(EVENT_ID_BYTES)).header()] if event else []
            log.append(partition, KINDS[kind], b"d", headers)

    def tick(self, _: str) -> None:
        self.until_crash -= 1
        if self.until_crash <= 0:
            self.until_crash = 10**9
            raise Crash

    def note(self, partition: Partition) -> tuple[int, CleanNote]:
        """What is committed for a partition."""
        at, metadata = self.kafka.committed[partition]
        return at, decode(metadata)

    def rows(self, target: Partition) -> list[Position]:
        """The sources of the rows that a reader of the target takes, by the position rule; a hole is a FatalError."""
        found = marks(columns.headers(self.kafka.log(*target).records))
        assert has(found, HAS_POSITION).all()
        rows = sources(found)
        return [rows.at(i) for i in np.flatnonzero(new_rows(found, None)).tolist()]

    def values(self, target: Partition) -> dict[Position, bytes | None]:
        """What lies in the target by its source; a row that was produced again must be the same."""
        out: dict[Position, bytes | None] = {}
        for m in self.kafka.log(*target).records:
            assert out.setdefault(self.source(m), m.value()) == m.value()
        return out

    def source(self, m: Message) -> Position:
        """The source of a row; ORIGIN if it has none."""
        found = provenance(_headers(m)).position
        return unpack_position(found)[0] if found else ORIGIN

    def chained(self, target: Partition) -> bool:
        """Whether each row taken names the row taken before it: any loss between the two would be seen."""
        last: Position | None = None
        for m in self.kafka.log(*target).records:
            src, prev = unpack_position(provenance(_headers(m)).position)
            if last is None or src > last:
                if last is not None and prev != last:
                    return False
                last = src
        return True

    def letters(self) -> set[tuple[Partition, int, int]]:
        """(partition, epoch, offset) of each dead letter."""
        out = set()
        for m in self.kafka.log(LETTERS).records:
            it = orjson.loads(header(_headers(m), "source") or b"")
            out.add(((it["topic"], it["partition"]), it["epoch"], it["offset"]))
        return out

    def repeats(self, partition: Partition) -> set[int]:
        """The offsets of raw records whose event id lies in the look-back: by the log alone."""
        at: dict[bytes, int] = {}
        out = set()
        for m in self.kafka.log(*partition).records:
            event = provenance(_headers(m)).event_id
            if event is None:
                continue
            if at.get(event, -LOOKBACK - 1) >= offset(m) - LOOKBACK:
                out.add(offset(m))
            at[event] = offset(m)
        return out


class ToyStore:
    """The object store, as far as transforms and snapshots need it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        self._world.tick("put")
        if not (if_absent and key in self._world.store):
            self._world.store[key] = data
        return True

    def get(self, key: str) -> bytes:
        if key not in self._world.store:
            raise FatalError(f"no object {key}")
        return self._world.store[key]

    def exists(self, key: str) -> bool:
        return key in self._world.store


class AtOnce:
    """Does what is to be done on another thread at once: what a process dies of, it dies of here."""

    def __init__(self, *_: object) -> None:
        """It needs no threads."""

    def submit(self, call: Callable[..., Any], *args: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(call(*args))
        except (HeadraceError, UnreadableError) as e:
            done.set_exception(e)
        return done


class ToyTransform:
    """A transform whose text is two numbers: what it adds to x, and above which x it fails."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self._plus, self._most = map(float, code.text.split())

    def check(self, *_: object) -> None:
        """It is row-wise."""

    def run(self, _: object, columns: Columns, alive: Callable[[], object]) -> Result:
        alive()
        out = Result()
        for row, x in enumerate(columns["x"]):
            if x is not None and x > self._most:
                out.failures[row] = Failure("too large")
            elif x is not None:
                out.changes[row] = {"x": x + self._plus}
        return out


class Process:
    """A process of the service, and what it holds in memory."""

    def __init__(self, world: World, make: "Make", *, given: bool = True) -> None:
        """`given`: whether the group gives it every partition."""
        self.world = world
        self.interlude: Callable[[], None] = lambda: None  # happens the next time that it polls while it waits
        self.client = ToyConsumer(world.kafka, self._before)
        self.producer = ToyProducer(world.kafka, self._before)
        with patched(self):
            settings, step = make()
            self.partitions = [(source, n) for source in settings.targets for n in range(2)]
            self.relay: Relay[Any] = Relay(settings, step, Checks(), self.client, threading.Event())
            self.relay.join()
        if given:
            self.client.give(*self.partitions)

    def turn(self) -> None:
        """One turn of the loop."""
        with patched(self):
            self.relay.turn()

    def run_dry(self) -> None:
        """Deal with all there is."""
        log, committed = self.world.kafka.log, self.world.kafka.committed
        for _ in range(200):
            self.turn()
            ours = [p for p in self.partitions if self.world.kafka.owners.get(p) is self.client]
            ends = {p: log(*p).high for p in ours}
            done = (self.client.at.get(p) == end == committed.get(p, (0, ""))[0] for p, end in ends.items())
            if ours and all(done):
                return
        raise AssertionError("it does not come to an end")

    def _before(self, name: str) -> None:
        self.world.tick(name)
        if name == "consume" and self.relay.wait.working:
            call, self.interlude = self.interlude, lambda: None
            call()


Make = Callable[[], tuple[Settings, Step[Any]]]


CONFIG = Config.model_validate({"streams": {"toy": {}}, "clean": {"lookback": LOOKBACK, "batch": 5}})


@cache
def registry() -> Registry:
    """A registry's client, which `patched` keeps from asking."""
    return Registry(CONFIG.registry)


def cleaning() -> tuple[Settings, Step[Any]]:
    """The step of clean, as a process begins with it."""
    return service.settings_of(CONFIG), Cleaner(CONFIG, registry())


def transforming(path: Path | None, calibration: Path | None = None) -> Make:
    """The step of clean with a transform for the stream, a file that `ToyTransform` takes, and a calibration."""

    def make() -> tuple[Settings, Step[Any]]:
        stream = CONFIG.streams["toy"].model_copy(update={"transform": path, "calibration": calibration})
        config = CONFIG.model_copy(update={"streams": {"toy": stream}})
        return service.settings_of(config), Cleaner(config, registry())

    return make


def copying(source: str) -> tuple[Settings, Step[Any]]:
    """The step of copy, from a topic to COPY."""
    return Settings("copy", Kafka(), "headrace-copy", 5, {source: COPY}), Copier()


@contextmanager
def patched(process: Process) -> Iterator[None]:
    """The real code, with the toy's Kafka and registry under it."""
    world = process.world
    info = TopicInfo(world.topic_id, len(PARTITIONS), 1_000_000)

    def ends(_: object, partitions: list[Partition]) -> dict[Partition, tuple[int, int]]:
        return {p: (world.kafka.log(*p).low, world.kafka.log(*p).high) for p in partitions}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backoff, "FIRST_SECONDS", 0.0)
        patch.setattr(hold, "_OUTAGE_SECONDS", -1.0)
        patch.setattr(relay, "_FIRST_COUNT", 5)
        patch.setattr(relay, "_LEAST_COUNT", 1)
        patch.setattr(kafka, "consumer", lambda *_, **__: ToyConsumer(world.kafka))
        patch.setattr(kafka, "producer", lambda *_, **__: process.producer)
        patch.setattr(kafka, "describe", lambda _, names: {n: TopicInfo(world.topic_id, 1, 1_000_000) for n in names})
        patch.setattr(relay, "log_ends", ends)
        patch.setattr(beginning, "log_ends", ends)
        patch.setattr(topics, "check", lambda _, targets, *__: {s: Pair(info, info) for s in targets})
        patch.setattr(transforms, "Transform", ToyTransform)
        patch.setattr(service, "open_store", lambda _: ToyStore(world))
        patch.setattr(snapshots, "ThreadPoolExecutor", AtOnce)
        patch.setattr(snapshots, "_STEP", 1)
        patch.setattr(Registry, "latest", lambda *_: None)
        patch.setattr(Registry, "schema_text", lambda _, schema_id: _schema(world, schema_id))
        world.put_under(patch)
        yield


def _schema(world: World, schema_id: int) -> str:
    if schema_id not in world.schemas:
        raise PoisonError(Reason.UNKNOWN_SCHEMA, f"no schema {schema_id}")
    return world.schemas[schema_id]


def _headers(m: Message) -> Headers:
    return kafka.headers_of(m)
