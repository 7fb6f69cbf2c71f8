"""The archive's main loop: a single thread that reads, rotates and commits; jobs decode and store beside it."""

import gc
import logging
import threading
import time
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

from headrace import metrics
from headrace.config import Config
from headrace.errors import ConfigError, TransientError
from headrace.health import Health
from headrace.kafkawatch import KafkaWatch
from headrace.lake import layout
from headrace.names import clean_topic
from headrace.registry import Registry
from headrace.store.base import ObjectStore
from headrace.store.open import open_store
from processors.archive.find import Incarnations, Positions
from processors.archive.letters import Letters
from processors.archive.partition import Partition
from processors.archive.patience import CHECK, Patience
from processors.archive.put import await_store
from processors.archive.reader import Key, Reader
from processors.archive.rotation import Cause, due, largest
from processors.archive.schemas import Schemas
from processors.archive.watch import ANSWER_SECONDS, Watch
from processors.archive.work import Kit, Work
from processors.startup import await_kafka, until_there

log = logging.getLogger(__name__)
SERVICE = "archive"
_STALLED_SECONDS = 120.0  # a commit may wait this long for Kafka
# A poll makes fifty thousand short-lived lists and tuples, none of them in a cycle: with Python's own threshold the
# collector took four fifths of the time of reading their headers (measured: 5.4 us a message, 1.0 without).
_COLLECT_AFTER = 500_000
_LEAVE_SECONDS = 5.0
_SHUTDOWN_SECONDS = 10.0
_GAUGES_SECONDS = 1.0
_FULL, _ROOM = 1.0, 0.8  # of the memory budget: when to stop reading, and when to read on


def run(config: Config, stop: threading.Event) -> None:
    """Archive the configured topics until `stop` is set, then store what is buffered and leave the group."""
    topics = topics_of(config)
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 10, 10)
    # The watch is to find out in time that the store is gone: what stores waits longer.
    quick = min(ANSWER_SECONDS, config.store.timeout_seconds)
    store = open_store(config.store.model_copy(update={"timeout_seconds": quick}))
    checks = (*Watch.CHECKS, CHECK)
    with Health(config.archive.http, checks, _STALLED_SECONDS) as health, Registry(config.registry) as registry:
        log.info("archiving", extra={"topics": topics, "health_port": health.port})
        with suppress(TransientError):  # the watch makes it, and tells of it: here counts only that we are let in
            store.ensure_bucket()
        with suppress(TransientError):
            registry.latest(f"{topics[0]}-value")
        if not await_kafka(config.kafka, config.archive.group, topics, health, stop):
            return
        lake = open_store(config.store)
        conditional = await_store(lake, health, stop)
        if conditional is None:
            return
        make = partial(Archive, config, topics, health, registry, lake, conditional=conditional)
        archive = until_there(make, health, stop)
        if archive is None:
            return
        with (
            archive,
            Watch(archive.positions, store, topics, health),
            KafkaWatch(config.kafka, health, archive.clients),
        ):
            archive.run(stop)


def topics_of(config: Config) -> list[str]:
    """The topics to archive; ConfigError where one can't be, or there are none."""
    topics = list(config.archive.topics) or [clean_topic(s) for s in config.streams]
    if not topics:
        raise ConfigError("archive.topics and streams are both empty: name a stream, or a topic to archive")
    if config.dead_letters.topic in topics:
        raise ConfigError(
            f"archive.topics: {config.dead_letters.topic} holds dead letters, which are no readings; remove it"
        )
    folders: dict[str, str] = {}
    for topic in topics:
        if topic.startswith("_"):
            raise ConfigError(f"archive.topics: {topic!r}: names that begin with an underscore are the lake's own")
        other = folders.setdefault(layout.folder(topic), topic)
        if other != topic:
            raise ConfigError(
                f"archive.topics: {other} and {topic} would share the folder {layout.folder(topic)}; remove one"
            )
    return topics


class Archive:
    """A member of the archive's group, from `with` to its end."""

    def __init__(
        self,
        config: Config,
        topics: list[str],
        health: Health,
        registry: Registry,
        store: ObjectStore,
        *,
        conditional: bool,
    ) -> None:
        self._limits = config.archive
        self._health = health
        self._parts: dict[Key, Partition] = {}
        self._reader = Reader(config, topics, self._taken, self._left)
        self.positions = Positions(config.kafka, config.archive.group)
        self._letters = Letters(config, store)
        kit = Kit(
            Incarnations(config.kafka),
            self.positions,
            store,
            Schemas(registry.schema_text),
            self._letters,
        )
        self._work = Work(config.archive, kit, Patience(health), conditional=conditional)
        self._full = False
        self._gauges_at = 0.0

    def __enter__(self) -> Self:
        self._reader.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:  # commit nothing more
            for part in self._parts.values():
                part.token.void()
        self._reader.__exit__(kind, error, tb)
        for part in self._parts.values():
            part.token.void()
        self._work.close()
        self.positions.close()

    def clients(self) -> dict[str, object]:
        """Its Kafka clients, by what they do."""
        out: dict[str, object] = {"reading": self._reader.client, "asking for positions": self.positions.client}
        return out if self._letters.producer is None else {**out, "dead letters": self._letters.producer}

    def run(self, stop: threading.Event) -> None:
        """Until `stop`. FatalError and ConfigError as jobs and commits raise them."""
        while not stop.is_set():
            self._turn()
        deadline = time.monotonic() + _SHUTDOWN_SECONDS
        log.info("storing what is buffered")
        while time.monotonic() < deadline and any(p.busy or p.buffered or p.gap for p in self._parts.values()):
            for part in self._parts.values():
                part.flush(Cause.SHUTDOWN)
                part.throttle(full=True)
            self._turn(rotate=False)

    def _turn(self, *, rotate: bool = True) -> None:
        self._health.progress()
        # While jobs run their end is what matters, not the next message.
        chunks, ends = self._reader.read(0.01 if any(p.busy for p in self._parts.values()) else 0.1)
        now = time.monotonic()
        for key, chunk in chunks.items():
            part = self._parts.get(key)  # none: taken away while these were on their way
            if part is not None and part.assigned:
                part.add(chunk, now)
        for key, offset in ends.items():
            if key in self._parts and self._parts[key].assigned:
                self._parts[key].end_of_log(offset, now)
        for part in list(self._parts.values()):
            cause = due(part.fill(), self._limits, now) if rotate else None
            if cause is not None:
                part.flush(cause)
            part.step(now)
        if rotate:
            self._budget()
        self._gauges(now)

    def _budget(self) -> None:
        """Keep to the memory budget: stop reading when it is used up, and store the largest buffer first."""
        held = sum(p.held for p in self._parts.values())
        metrics.ARCHIVE_BUFFER.set(held)
        self._full = held >= self._limits.memory_bytes * (_ROOM if self._full else _FULL)
        if self._full and not any(p.busy for p in self._parts.values()):
            key = largest({k: p.buffered for k, p in self._parts.items()})
            if key is not None:
                self._parts[key].flush(Cause.MEMORY)
        for part in self._parts.values():
            part.throttle(full=self._full)

    def _taken(self, keys: list[Key]) -> None:
        log.info("partitions assigned", extra={"partitions": [f"{t}/{p}" for t, p in keys]})
        for topic, number in keys:
            self._parts[topic, number] = Partition(topic, number, self._work, self._reader)

    def _left(self, keys: list[Key], lost: bool) -> list[Key]:
        log.info(
            "partitions lost" if lost else "partitions revoked", extra={"partitions": [f"{t}/{p}" for t, p in keys]}
        )
        deadline = time.monotonic() + _LEAVE_SECONDS
        gone = {key: self._parts.pop(key) for key in keys if key in self._parts}
        for key, part in gone.items():
            if lost:
                part.token.void()
            part.leave(max(0.0, deadline - time.monotonic()))
            for gauge in ((metrics.LAG, (SERVICE, *key)), (metrics.ARCHIVE_UNREAD, key)):
                gauge[0].remove(*gauge[1])  # another member tells of it now
        return [key for key, part in gone.items() if part.assigned]

    def _gauges(self, now: float) -> None:
        if now - self._gauges_at < _GAUGES_SECONDS:
            return
        self._gauges_at = now
        for (topic, number), part in self._parts.items():
            end = self._reader.end(topic, number)
            if part.assigned and end >= 0:
                metrics.LAG.labels(SERVICE, topic, number).set(max(0, end - part.start))
                metrics.ARCHIVE_UNREAD.labels(topic, number).set(max(0, end - part.next))
