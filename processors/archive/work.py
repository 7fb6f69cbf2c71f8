"""What the archive does off the poll thread: find out where a partition stands, make batches, store them."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from headrace import metrics
from headrace.config.model import Archive
from headrace.errors import FatalError
from headrace.intent import Note
from headrace.lake import ledger
from headrace.lake.ledger import Entry
from headrace.names import stream_of
from headrace.store.base import ObjectStore
from processors.archive import find, salvage
from processors.archive.buffer import Chunk, join
from processors.archive.commit import Token
from processors.archive.patience import Patience
from processors.archive.plan import DeadRow, Place, Plan, Shape, Span, gap, plans
from processors.archive.put import put_entry, put_file
from processors.archive.recovery import Action, Finish, Lost, decide
from processors.archive.schemas import Schemas

log = logging.getLogger(__name__)
T = TypeVar("T")
_JOBS = 8  # partitions recovering, being made into batches or stored at a time


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a partition stands, and what is to be done first."""

    place: Place
    action: Action


class Ids(Protocol):
    """Ids of topics: see find.Incarnations."""

    def of(self, topic: str) -> str: ...  # noqa: D102


class Dead(Protocol):
    """Dead letters: see letters.Letters."""

    def write(self, token: Token, topic: str, rows: tuple[DeadRow, ...]) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Kit:
    """What jobs work with."""

    ids: Ids
    positions: find.Where
    store: ObjectStore
    schemas: Schemas
    letters: Dead


class Work:
    """Jobs on threads. Each holds while a dependency is away, and ends with Revoked once its token is void."""

    def __init__(self, settings: Archive, kit: Kit, patience: Patience, *, conditional: bool) -> None:
        self._settings, self._kit, self._patience = settings, kit, patience
        self._conditional = conditional
        self._jobs = ThreadPoolExecutor(_JOBS, thread_name_prefix="job")
        self._puts = ThreadPoolExecutor(settings.uploads, thread_name_prefix="put")

    def close(self) -> None:
        """Wait for nothing: whoever has the partition next stores the same objects again."""
        self._jobs.shutdown(wait=False, cancel_futures=True)
        self._puts.shutdown(wait=False, cancel_futures=True)

    def recover(self, token: Token, topic: str, partition: int) -> Future[Standing]:
        """Where the partition stands. FatalError and ConfigError as in recovery.decide."""
        return self._jobs.submit(self._recover, token, topic, partition)

    def prepare(
        self, token: Token, place: Place, note: Note, span: Span, chunks: Sequence[Chunk]
    ) -> Future[list[Plan]]:
        """The batches that a span of the log, with these messages or none, is stored in."""
        return self._jobs.submit(self._prepare, token, place, note, span, chunks)

    def store(self, token: Token, plan: Plan) -> Future[Entry]:
        """Store a batch: dead letters, files, and at last the ledger entry. Its intent is committed."""
        return self._jobs.submit(self._store_batch, token, plan)

    def _recover(self, token: Token, topic: str, partition: int) -> Standing:
        hold = self._patience.hold
        place = Place(topic, hold(token, "reading the topic's id", lambda: self._kit.ids.of(topic)), partition)
        facts = hold(token, "finding the position", lambda: find.facts(self._kit.positions, self._kit.store, place))
        action = decide(place, facts)
        if isinstance(action, Lost):
            lost = action
            entry = hold(token, "accounting for lost records", lambda: salvage.lost_entry(self._kit.store, place, lost))
            hold(token, "storing the ledger", lambda: self._put_entry(entry))
            _tell_lost(entry)
            action = Finish(entry.end, Note(place.topic_id, entry.last, entry.tail, None, loose=True))
        return Standing(place, action)

    def _prepare(self, token: Token, place: Place, note: Note, span: Span, chunks: Sequence[Chunk]) -> list[Plan]:
        now = self._patience.hold(token, "reading the topic's id", lambda: self._kit.ids.of(place.topic))
        if now != place.topic_id:
            raise FatalError(f"{place.topic} was deleted and created again: it has other readings at the same offsets")
        settings = self._settings
        shape = Shape(settings.max_records, settings.max_event_span_hours, settings.compression_level)
        if not chunks:
            return [gap(place, note, span, shape.level)]
        chunk = join(chunks)
        return self._patience.hold(token, "decoding", lambda: plans(place, note, span, chunk, self._kit.schemas, shape))

    def _store_batch(self, token: Token, plan: Plan) -> Entry:
        hold, topic = self._patience.hold, plan.entry.topic
        if plan.dead:
            hold(token, "writing dead letters", lambda: self._kit.letters.write(token, topic, plan.dead))
        if plan.low > plan.entry.start:
            return self._store_rest(token, plan)
        puts = [
            self._puts.submit(
                hold, token, "storing a file", lambda f=f: put_file(self._kit.store, f, conditional=self._conditional)
            )
            for f in plan.files
        ]
        entry = plan.stored(tuple(p.result() for p in puts))
        hold(token, "storing the ledger", lambda: self._put_entry(entry))
        return entry

    def _store_rest(self, token: Token, plan: Plan) -> Entry:
        """The same where the log has lost a part of the batch."""
        hold, store = self._patience.hold, self._kit.store
        place = Place(plan.entry.topic, plan.entry.topic_id, plan.entry.partition)
        entry = hold(
            token,
            "storing what the log still has",
            lambda: salvage.store_rest(store, place, plan, conditional=self._conditional),
        )
        hold(token, "storing the ledger", lambda: self._put_entry(entry))
        _tell_lost(entry)
        return entry

    def _put_entry(self, entry: Entry) -> None:
        put_entry(self._kit.store, entry, conditional=self._conditional)


def _tell_lost(entry: Entry) -> None:
    gone = ledger.count(entry.lost)
    if gone:
        log.error(
            "Kafka deleted records before they were stored: longer retention, or more archivers, are needed",
            extra={
                "topic": entry.topic,
                "partition": entry.partition,
                "from": entry.start,
                "to": entry.end,
                "records": gone,
            },
        )
        metrics.ARCHIVE_LOST.labels(stream_of(entry.topic)).inc(gone)
