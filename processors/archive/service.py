"""The archive: a Kafka topic to Parquet files, so that each source position is in the lake exactly once.

One thread reads, rotates and commits; jobs on other threads assess, prepare and store. What many partitions have to
commit at the same time goes in one request. Of each partition:

 1. Assignment. The group gives us the partition, with a token that its loss voids for ever. Nothing is read yet.
 2. Recovery (a job). Ask Kafka for the topic's id, the log's ends and the committed offset S with its note; look up the
    ledger entry that begins at S. Then decide: nothing committed: begin where the log begins, unless the lake holds
    rows. An entry is there: only step 9 is missing, so commit and recover again. An open intent: redo [S, E). Else read
    on from S. Another topic id, or a log that ends before S: stop. Kafka has deleted what was not stored: record it.
 3. Reading. First read record S-1 again and compare it with the note: a truncated log hands out its offsets again. Then
    keep the messages as they came, in a buffer. Offsets without a record at the log's end count as a gap.
 4. Rotation. The buffer is due when it reaches a limit (bytes, records, age, idleness), when memory is used up, and at
    shutdown. Reading pauses.
 5. Preparing (a job). Ask for the topic's id again, drop repeats by their source, decode, cut into batches, write
    Parquet in memory. A batch [S, E) derives from its records, its bounds and its settings only: no clock, no chance.
 6. Intent. Commit S with the end E and the settings in the note. Nothing is stored before that.
 7. PUTs (a job). Write the dead letters, then the files. A key that is taken is never written again: the same rows
    there are success, other rows stop the archive.
 8. Ledger (the same job). PUT one object that accounts for every offset of [S, E). It alone says which files count.
 9. Commit. Commit E with the note of the last record and the last source. Then the next batch of step 5, or reading on.

After a crash the next owner begins at step 1, with what Kafka and the store have:

    crash after    committed      the next owner
    1 to 5         S              reads on from S: whatever was in memory is read again
    6              S, intent      redoes [S, E), no more and no less, under the same names
    7, in part     S, intent      redoes [S, E): finds some files there, writes the others
    8              S, intent      finds the ledger entry, and commits E
    9              E              reads on from E

What may come late. A PUT of an earlier owner: it has the same key and the same rows, and changes nothing. A commit of
an earlier owner: while it is a live member the broker would take it, so the token is asked first, on the thread that
polls; after that the broker refuses it. A redo may exceed the memory budget, rather than never reach E.

Why it is done like this: docs/decisions/no-transactions.md.
"""

import gc
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from headrace import kafka
from headrace.config import Config
from headrace.config.model import Archive as Settings
from headrace.errors import TransientError
from headrace.kafka.watch import KafkaWatch
from headrace.runtime import metrics
from headrace.runtime.health import Checks, Health
from headrace.schema_registry.client import Registry
from headrace.store.open import open_store
from processors.archive import reader
from processors.archive.buffer import Cause, due, enough, largest
from processors.archive.chunk import Chunk
from processors.archive.letters import Letters
from processors.archive.lookup import Lookup
from processors.archive.partition import AssignedPartition
from processors.archive.put import WriteOnce, await_store
from processors.archive.reader import Reader
from processors.archive.tables import codec_of
from processors.archive.watch import ANSWER_SECONDS, Watch
from processors.archive.work import Deps, Work
from processors.group.commits import Commits, Wanted
from processors.group.hold import Hold, JobHold
from processors.group.member import Member
from processors.group.schemas import Schemas
from processors.group.startup import await_kafka, until_there
from processors.group.token import Partition
from processors.memory import without_pandas

log = logging.getLogger(__name__)
SERVICE = "archive"
JOBS = "progress"  # what /readyz calls all that jobs wait for
_STALLED_SECONDS = 120.0  # a commit may wait this long for Kafka
# A poll makes fifty thousand short-lived lists and tuples, none of them in a cycle. With Python's own threshold the
# collector took four fifths of the time of reading their headers (measured: 5.4 us a message, 1.0 without).
_COLLECT_AFTER = 500_000
_LEAVE_SECONDS = 5.0
_SHUTDOWN_SECONDS = 10.0
_GAUGES_SECONDS = 1.0
_LOOK_SECONDS = 0.1  # between looks at all partitions; those that move are looked at each turn
_COMMIT_AGAIN_SECONDS = 0.5
# Of the memory budget: when to stop reading and when to read on; when to read one partition after another, and until
# when.
_FULL, _ROOM = 1.0, 0.8
_TIGHT, _LOOSE = 0.5, 0.4
_BEHIND = 1_000  # records to read: a partition with more has a backlog


def run(config: Config, stop: threading.Event) -> None:
    """Archive the configured topics until `stop` is set, then store what is buffered and leave the group.

    ConfigError and FatalError end it; an outage is waited out.
    """
    topics, cfg = list(config.archived), config.kafka
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 10, 10)
    without_pandas()
    # The watch must see in time that the store is gone; what stores waits longer.
    quick = min(ANSWER_SECONDS, config.store.timeout_seconds)
    watched = open_store(config.store.model_copy(update={"timeout_seconds": quick}))
    with (
        Health(config.archive.http, (*Watch.CHECKS, JOBS), _STALLED_SECONDS) as health,
        Registry(config.registry) as registry,
    ):
        log.info("archiving", extra={"topics": topics, "health_port": health.port})
        # Only a refusal counts here: the watch says what is away, and makes the bucket.
        with suppress(TransientError):
            watched.ensure_bucket()
        with suppress(TransientError):
            registry.latest(f"{topics[0]}-value")
        if not await_kafka(cfg, config.archive.group, topics, health, stop):
            return
        store = open_store(config.store)
        conditional = await_store(store, health, stop)
        if conditional is None:
            return
        lookup = until_there("kafka", partial(Lookup, cfg, config.archive.group), health, stop)
        if lookup is None:
            return
        with closing(lookup):
            client = until_there("kafka", partial(reader.consumer, cfg, config.archive.group), health, stop)
            if client is None:
                return
            letters = Letters(config, store)
            deps = Deps(lookup, WriteOnce(store, conditional), Schemas(registry.schema_text, codec_of), letters)
            work = Work(config.archive, deps, JobHold(Hold(health, admitted=True), JOBS))

            with Archive(config.archive, topics, health, client, work) as archive:

                def clients() -> dict[str, Any]:
                    out = {"reading": archive.contact, "asking for positions": lookup.client}
                    out["asking for ids"] = lookup.admin
                    return out | ({"dead letters": letters.producer} if letters.producer is not None else {})

                with Watch(lookup, watched, topics, health), KafkaWatch(cfg, health, clients):
                    archive.run(stop)


class Archive:
    """A member of the archive's group, from `with` to its end: the loop of the thread that polls."""

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        health: Checks,
        client: kafka.Consumer,
        work: Work,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`client` as reader.consumer makes it; it and `work` are closed at the end. `clock` counts seconds."""
        self._limits, self._topics, self._health = settings, topics, health
        self._work, self._clock = work, clock
        self._member = Member(client, taken=self._taken, leaving=self._leaving)
        self.contact = self._member.contact
        self._reader = Reader(self._member, settings.batch)
        self._commits = Commits(client)
        self._parts: dict[Partition, AssignedPartition] = {}
        self._waiting: set[Partition] = set()  # for jobs and commits
        self._full = self._tight = self._throttled = False
        self._gauges_at = self._looked_at = self._commit_at = -math.inf

    def __enter__(self) -> Self:
        self._member.subscribe(self._topics)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:  # commit nothing more
            for part in self._parts.values():
                part.token.void()
        self._member.close()
        self._work.close()

    @property
    def done(self) -> bool:
        """Whether all that was read is stored and committed."""
        return not any(p.busy or p.buffered or p.gap for p in self._parts.values())

    def run(self, stop: threading.Event) -> None:
        """Take turns until `stop` is set, then store what is buffered. Errors as jobs and commits raise them."""
        while not stop.is_set():
            self.turn()
        log.info("storing what is buffered")
        deadline = self._clock() + _SHUTDOWN_SECONDS
        while self._clock() < deadline and not self.done:
            for part in self._parts.values():
                self._flush(part, Cause.SHUTDOWN)
                part.throttle(full=True)
            self.turn(rotate=False)

    def turn(self, *, rotate: bool = True) -> None:
        """Read once, and move every partition on; with `rotate`, begin to store what is due."""
        self._health.progress()
        chunks = self._reader.read(self._patience())
        now = self._clock()
        for partition, chunk in chunks.items():
            self._parts[partition].add(chunk, now, self._waited(chunk))
        ends = self._member.ends()
        for partition, offset in ends.items():
            self._parts[partition].end_of_log(offset, now)
        parts = self._looked_at_now(now, chunks.keys() | ends.keys())
        for part in parts if rotate else ():
            cause = due(part.fill(), self._limits, now)
            if cause is not None and not (cause is Cause.IDLE and part.paused):  # it is we who are silent
                self._flush(part, cause)
        self._go_on(parts, now)
        self._waiting = {p.partition for p in parts if p.waits}
        if rotate:
            self._budget()
        self._gauges(now)

    def _waited(self, chunk: Chunk) -> float:
        """Seconds that a chunk's first message was in Kafka. A backlog, or another clock, makes no file smaller."""
        return min(max(0.0, time.time() - int(chunk.times[0]) / 1e6), self._limits.max_age_seconds / 10, 1.0)

    def _looked_at_now(self, now: float, moved: Collection[Partition]) -> list[AssignedPartition]:
        """All partitions every so often; between, those that moved or wait. With many it is a part of the cost."""
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            return list(self._parts.values())
        return [part for p, part in self._parts.items() if p in self._waiting or p in moved]

    def _flush(self, part: AssignedPartition, cause: Cause) -> None:
        part.flush(cause)
        self._waiting.add(part.partition)

    def _go_on(self, parts: Iterable[AssignedPartition], now: float) -> None:
        """Move partitions on as far as they go. What they want to commit goes in one request, again and again."""
        if now < self._commit_at:
            return
        try:
            while parts := self._commit({part: part.step() for part in parts}):
                for part in parts:
                    part.committed()
        except TransientError as e:
            self._commit_at = now + _COMMIT_AGAIN_SECONDS
            log.warning("commit failed, trying again", extra={"error": str(e)})

    def _commit(self, wanted: Mapping[AssignedPartition, Wanted | None]) -> list[AssignedPartition]:
        """Commit what partitions want. Returns those of which it is committed. TransientError: try again.

        FatalError where the broker does not keep notes: the first commits are intents, so nothing is stored by then.
        """
        done = self._commits.commit_all([it for it in wanted.values() if it is not None])
        metrics.ARCHIVE_COMMITS.inc(len(done))
        return [part for part, it in wanted.items() if it is not None and part.partition in done]

    def _patience(self) -> float:
        """How long to wait for a message. While jobs run, their end matters more; with nothing held, nothing is due."""
        if self._waiting:
            return 0.01
        parts = self._parts.values()
        return 0.5 if parts and all(p.quiet for p in parts) else 0.1

    def _budget(self) -> None:
        """Keep to the memory budget: when it is used up, stop reading, and store the largest buffers first.

        When half of it is used up and there is a backlog, read on only the fullest of those partitions: it becomes a
        file of full size, and then the next one, where all together would become as many small files.
        """
        held, limit = sum(p.held for p in self._parts.values()), self._limits.memory_bytes
        metrics.ARCHIVE_BUFFER.set(held)
        self._full = held >= limit * (_ROOM if self._full else _FULL)
        self._tight = held >= limit * (_LOOSE if self._tight else _TIGHT)
        if self._full and not any(p.busy for p in self._parts.values()):
            for partition in enough({k: p.buffered for k, p in self._parts.items()}, held - limit * _ROOM):
                self._flush(self._parts[partition], Cause.MEMORY)
        alone = self._fullest_behind() if self._tight else None
        before, self._throttled = self._throttled, self._full or alone is not None
        if before or self._throttled:
            for partition, part in self._parts.items():
                part.throttle(full=self._full or (alone is not None and partition != alone))

    def _fullest_behind(self) -> Partition | None:
        """Of the partitions with a backlog, the one with the largest buffer; None where there is none."""
        ends = {k: self._member.end(k) for k, p in self._parts.items() if p.buffered}
        return largest({k: self._parts[k].buffered for k, end in ends.items() if end - self._parts[k].next > _BEHIND})

    def _taken(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            token = self._member.tokens[partition]
            self._parts[partition] = AssignedPartition(partition, token, self._work, self._member)
            self._waiting.add(partition)

    def _leaving(self, partitions: Sequence[Partition]) -> None:
        deadline = self._clock() + _LEAVE_SECONDS
        gone = [part for p in partitions if (part := self._parts.pop(p, None)) is not None]
        stored = {part: part.leave(max(0.0, deadline - self._clock())) for part in gone}
        try:
            for part in self._commit(stored):
                part.committed()
        except TransientError as e:
            log.info("gave up partitions before their commit", extra={"error": str(e)})
        for part in gone:
            part.token.void()
            metrics.LAG.remove(SERVICE, *part.partition)  # the next owner tells of it now
            metrics.ARCHIVE_UNREAD.remove(*part.partition)

    def _gauges(self, now: float) -> None:
        if now - self._gauges_at < _GAUGES_SECONDS:
            return
        self._gauges_at = now
        for partition, part in self._parts.items():
            end = self._member.end(partition)
            if part.assigned and end >= 0:
                metrics.LAG.labels(SERVICE, *partition).set(max(0, end - part.start))
                metrics.ARCHIVE_UNREAD.labels(*partition).set(max(0, end - part.next))
