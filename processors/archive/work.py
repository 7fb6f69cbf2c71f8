"""What the archive does off the poll thread: assess a partition, make batches, store them. See service.py."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from headrace.config.model import Archive
from headrace.errors import FatalError
from headrace.lake import ledger
from headrace.lake.ledger import Entry, StoredFile
from headrace.protocol.archive_note import ArchiveNote
from headrace.protocol.names import stream_of
from headrace.runtime import metrics
from processors.archive import salvage
from processors.archive.buffer import Cause
from processors.archive.chunk import Chunk
from processors.archive.plan import BatchPlan, DeadRow, File, Incarnation, Shape, Span, batch_plans, gap
from processors.archive.put import WriteOnce
from processors.archive.recovery import Action, Asked, Finish, Lost, decide, gather
from processors.archive.rows import Decoded
from processors.avro.codec import Codec
from processors.group.hold import JobHold
from processors.group.schemas import Schemas
from processors.group.token import Token

log = logging.getLogger(__name__)
_JOBS = 8  # partitions recovering, being made into batches or stored at a time


Pool = Callable[[int, str], Executor]  # makes one of a number of threads and their name


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a partition turned out to be, and what to do first."""

    incarnation: Incarnation
    action: Action


class Dead(Protocol):
    """Writes dead letters: see letters.Letters."""

    def write(self, token: Token, topic: str, rows: tuple[DeadRow, ...]) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Deps:
    """What jobs work with."""

    asked: Asked
    lake: WriteOnce
    codecs: Schemas[Codec]
    letters: Dead


class Work:
    """Jobs on threads. Each holds while a dependency is away, and ends with Revoked once its token is void."""

    def __init__(self, settings: Archive, deps: Deps, hold: JobHold, pool: Pool = ThreadPoolExecutor) -> None:
        self._shape = Shape(settings.max_records, settings.max_event_span_hours, settings.compression_level)
        self._deps, self._hold = deps, hold.hold
        self._jobs = pool(_JOBS, "job")
        self._puts = pool(settings.uploads, "put")
        self._turn = threading.Lock()  # one batch is made at a time: it takes two or three times its messages' memory

    def close(self) -> None:
        """Wait for nothing: the next owner of the partition stores the same objects again."""
        self._jobs.shutdown(wait=False, cancel_futures=True)
        self._puts.shutdown(wait=False, cancel_futures=True)

    def recover(self, token: Token, topic: str, partition: int) -> Future[Assessment]:
        """Assess a partition. FatalError and ConfigError as recovery.decide raises them."""
        return self._jobs.submit(self._recover, token, topic, partition)

    def prepare(
        self, token: Token, incarnation: Incarnation, note: ArchiveNote, span: Span, chunks: list[Chunk]
    ) -> Future[list[BatchPlan]]:
        """Make the batches that a span of the log is stored in. Its messages, if any, are taken out of `chunks`."""
        return self._jobs.submit(self._prepare, token, incarnation, note, span, chunks)

    def store(self, token: Token, plan: BatchPlan) -> Future[Entry]:
        """Store a batch whose intent is committed: dead letters, files, and last the ledger entry."""
        return self._jobs.submit(self._store, token, plan)

    def _recover(self, token: Token, topic: str, number: int) -> Assessment:
        hold, asked, store = self._hold, self._deps.asked, self._deps.lake.store
        it = Incarnation(topic, hold(token, "reading the topic's id", lambda: asked.topic_id(topic)), number)
        action = decide(it, hold(token, "finding the position", lambda: gather(asked, store, it)))
        if isinstance(action, Lost):
            lost = action
            entry = hold(token, "accounting for lost records", lambda: salvage.lost_entry(store, it, lost))
            self._put_entry(token, entry)
            _count_lost(entry)
            action = Finish(entry.end, ArchiveNote(it.topic_id, entry.last, entry.tail, None, loose=True))
        return Assessment(it, action)

    def _prepare(
        self, token: Token, it: Incarnation, note: ArchiveNote, span: Span, chunks: list[Chunk]
    ) -> list[BatchPlan]:
        if it.topic_id != self._hold(token, "reading the topic's id", lambda: self._deps.asked.topic_id(it.topic)):
            raise FatalError(f"{it.topic} was deleted and created again: it has other readings at the same offsets")
        if not chunks:
            return [gap(it, note, span, self._shape.level)]

        def patient(call: Callable[[], Decoded]) -> Decoded:
            def in_turn() -> Decoded:
                with self._turn:
                    return call()

            return self._hold(token, "decoding", in_turn)

        return batch_plans(it, note, span, chunks, self._deps.codecs, self._shape, patient, self._turn)

    def _store(self, token: Token, plan: BatchPlan) -> Entry:
        if plan.dead:
            topic, letters = plan.entry.topic, self._deps.letters
            self._hold(token, "writing dead letters", lambda: letters.write(token, topic, plan.dead))
        rest = plan.low > plan.entry.start  # the log has lost a part of the batch
        entry = self._store_rest(token, plan) if rest else self._store_files(token, plan)
        self._put_entry(token, entry)
        if rest:
            _count_lost(entry)
        return entry

    def _store_files(self, token: Token, plan: BatchPlan) -> Entry:
        def put(file: File) -> StoredFile:
            return self._hold(token, "storing a file", lambda: self._deps.lake.put_file(file))

        stored = [self._puts.submit(put, file) for file in plan.files]
        return replace(plan.entry, files=tuple(f.result() for f in stored))

    def _store_rest(self, token: Token, plan: BatchPlan) -> Entry:
        return self._hold(token, "storing what the log still has", lambda: salvage.store_rest(self._deps.lake, plan))

    def _put_entry(self, token: Token, entry: Entry) -> None:
        self._hold(token, "storing the ledger", lambda: self._deps.lake.put_entry(entry))


def count_stored(entry: Entry, cause: Cause) -> None:
    """Tell metrics and log of a batch that is stored and committed."""
    stream, repeats = stream_of(entry.topic), ledger.count(entry.repeats)
    metrics.ARCHIVE_ROWS.labels(stream).inc(entry.rows)
    metrics.ARCHIVE_REPEATS.labels(stream).inc(repeats)
    metrics.ARCHIVE_FILES.labels(stream).inc(len(entry.files))
    metrics.ARCHIVE_BYTES.labels(stream).inc(sum(f.size for f in entry.files))
    metrics.ARCHIVE_BATCHES.labels(stream, cause).inc()
    counts = {"rows": entry.rows, "files": len(entry.files), "repeats": repeats, "refused": ledger.count(entry.refused)}
    log.info("stored", extra={**_about(entry), **counts, "cause": cause})


def _count_lost(entry: Entry) -> None:
    gone = ledger.count(entry.lost)
    if gone:
        words = "Kafka deleted records before they were stored: longer retention, or more archivers, are needed"
        log.error(words, extra={**_about(entry), "records": gone})
        metrics.ARCHIVE_LOST.labels(stream_of(entry.topic)).inc(gone)


def _about(entry: Entry) -> dict[str, object]:
    return {"topic": entry.topic, "partition": entry.partition, "from": entry.start, "to": entry.end}
