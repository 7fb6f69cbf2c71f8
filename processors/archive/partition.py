"""One assigned partition, as the poll thread drives it: recover, read, make batches, note the intent, store, commit."""

import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from headrace import metrics
from headrace.errors import FatalError, TransientError
from headrace.intent import Note, Tail
from headrace.lake import ledger
from headrace.lake.ledger import Entry
from headrace.names import stream_of
from processors.archive.buffer import Chunk
from processors.archive.commit import Revoked, Token
from processors.archive.plan import Place, Plan, Span
from processors.archive.recovery import ADOPT, Finish, Read
from processors.archive.rotation import Cause, Fill
from processors.archive.work import Standing

log = logging.getLogger(__name__)
_COMMIT_AGAIN_SECONDS = 0.5


class Jobs(Protocol):
    """What runs off the poll thread: see work.Work."""

    def recover(self, token: Token, topic: str, partition: int) -> Future[Standing]: ...  # noqa: D102
    def prepare(  # noqa: D102
        self, token: Token, place: Place, note: Note, span: Span, chunks: Sequence[Chunk]
    ) -> Future[list[Plan]]: ...
    def store(self, token: Token, plan: Plan) -> Future[Entry]: ...  # noqa: D102


class Log(Protocol):
    """The consumer's side of a partition. All of it is called on the poll thread."""

    def assign(self, topic: str, partition: int, offset: int) -> None: ...  # noqa: D102
    def pause(self, topic: str, partition: int) -> None: ...  # noqa: D102
    def resume(self, topic: str, partition: int) -> None: ...  # noqa: D102
    def commit(self, token: Token, topic: str, partition: int, offset: int, note: Note) -> None: ...  # noqa: D102


class State(Enum):
    """What a partition is waiting for."""

    RECOVERING = "recovering"  # a job that finds out where it stands
    FINISHING = "finishing"  # the commit of a batch that is stored
    READING = "reading"  # messages
    PREPARING = "preparing"  # a job that makes batches
    INTENDING = "intending"  # the commit of an intent
    STORING = "storing"  # a job that stores a batch


@dataclass
class Partition:
    """An assigned partition. `step` moves it on as far as it goes without waiting."""

    topic: str
    number: int
    jobs: Jobs
    log: Log
    token: Token = field(default_factory=Token)
    state: State = State.RECOVERING
    place: Place | None = None
    note: Note = field(default_factory=lambda: Note(""))
    start: int = 0  # of the next batch: what is committed, or will be
    next: int = 0  # offset of the next message to read
    assigned: bool = False
    low: int = 0  # where the log begins: after `start` where records of a batch that was begun are gone
    _tail: Tail | None = None  # of the record to check first
    _chunks: list[Chunk] = field(default_factory=list)
    _records: int = 0
    _size: int = 0  # of the chunks
    _away: int = 0  # of the messages that a job has
    _first_at: float = 0.0
    _last_at: float = 0.0
    _plans: deque[Plan] = field(default_factory=deque)
    _finish: Finish | None = None
    _cause: Cause = Cause.IDLE
    _recovering: Future[Standing] | None = None
    _preparing: Future[list[Plan]] | None = None
    _storing: Future[Entry] | None = None
    _not_before: float = 0.0
    _paused: bool = False

    def __post_init__(self) -> None:
        self._recovering = self.jobs.recover(self.token, self.topic, self.number)

    @property
    def held(self) -> int:
        """Bytes of messages in memory, those being stored included."""
        return self._size + self._away

    @property
    def buffered(self) -> int:
        """Bytes of messages that could be stored now, did somebody ask to."""
        return self._size if self.state is State.READING and not self.replaying else 0

    @property
    def replaying(self) -> bool:
        """Whether a batch that was begun before is being read again: it must reach its end, whatever it takes."""
        return self.state is State.READING and self.note.intent is not None

    @property
    def gap(self) -> int:
        """Offsets at the log's end without a record, where nothing before them waits to be stored."""
        reading = self.state is State.READING and not self.replaying and self._tail is None
        return self.next - self.start if reading and not self._chunks else 0

    @property
    def busy(self) -> bool:
        """Whether a job or a commit is under way."""
        return self.state not in {State.READING, State.RECOVERING}

    def fill(self) -> Fill:
        """How full the buffer is."""
        records = self._records if self.state is State.READING else 0
        return Fill(records, self._size, self._first_at, self._last_at, self.gap)

    def add(self, chunk: Chunk, now: float) -> None:
        """Messages that were read. FatalError where the log isn't the one that the last batch was read from."""
        if self._tail is not None:
            chunk = self._checked(chunk, self._tail)
        if len(chunk) == 0:
            return
        if int(chunk.offsets[0]) < self.next:
            raise FatalError(f"{self.topic}/{self.number}: offset {chunk.offsets[0]} came after {self.next - 1}")
        if not self._chunks:
            self._first_at = now
        self._last_at = now
        self._keep([*self._chunks, chunk])
        self.next = int(chunk.offsets[-1]) + 1

    def _checked(self, chunk: Chunk, tail: Tail) -> Chunk:
        """What follows the record that was the last before the start, which `chunk` begins with."""
        found = chunk.tail(0)
        if found == tail:
            self._tail = None
            return chunk.cut(1, len(chunk))
        self._without(tail, found)
        return chunk

    def _without(self, tail: Tail, found: Tail | None) -> None:
        """Instead of the record of `tail` the log has `found`, or nothing: a compacted topic may have dropped it."""
        dropped = found is None or found.offset > tail.offset
        if not dropped or self.place is None or self.place.positioned:
            raise FatalError(
                f"{self.topic}/{self.number}: the record before offset {self.start} was {tail}, and is {found} now: "
                f"the log was truncated, or the topic's data replaced. {ADOPT}"
            )
        self._tail = None

    def end_of_log(self, offset: int, now: float) -> None:
        """The log ends at `offset` for now: what is missing before it won't come."""
        if self._tail is not None:
            self._without(self._tail, None)
        if offset <= self.next:
            return
        if not self._chunks:
            self._first_at, self._last_at = now if self.gap == 0 else self._first_at, now
        self.next = offset

    def flush(self, cause: Cause) -> None:
        """Store what is buffered, and account for a gap."""
        if self.buffered > 0 or self.gap > 0:
            self._begin(cause, self._chunks, [], self.next)

    def throttle(self, *, full: bool) -> None:
        """Read on, or stop reading while memory is `full`; a replay reads on."""
        if self.state is State.READING and full != self._paused and not (full and self.replaying):
            self._pause(pause=full)

    def step(self, now: float) -> None:
        """Go on with whatever is done. Raises what jobs and commits raise; TransientErrors are tried again later."""
        if now < self._not_before:
            return
        try:
            while self._advance():
                pass
        except TransientError as e:
            self._not_before = now + _COMMIT_AGAIN_SECONDS
            log.warning(
                "commit failed, trying again", extra={"topic": self.topic, "partition": self.number, "error": str(e)}
            )

    def leave(self, seconds: float) -> None:
        """The partition is being taken away: commit what is stored, if it is within `seconds`, and drop the rest."""
        try:
            self.token.check()
            if self._storing is not None:
                self._storing.exception(seconds)
                self._advance()
        except (TransientError, TimeoutError):
            log.info("left while storing", extra={"topic": self.topic, "partition": self.number})
        except Revoked:
            log.info("lost", extra={"topic": self.topic, "partition": self.number, "state": self.state.value})
        self.token.void()

    def _advance(self) -> bool:
        """One step; whether there was one to make."""
        match self.state:
            case State.RECOVERING:
                return self._recovered()
            case State.FINISHING:
                return self._finished()
            case State.READING:
                return self._replayed()
            case State.PREPARING:
                return self._prepared()
            case State.INTENDING:
                return self._intended()
            case State.STORING:
                return self._stored()

    def _recovered(self) -> bool:
        if self._recovering is None or not self._recovering.done():
            return False
        standing = self._recovering.result()
        self.place, self._recovering = standing.place, None
        action = standing.action
        if isinstance(action, Finish):
            self._finish, self.state = action, State.FINISHING
            return True
        assert isinstance(action, Read)
        self.note, self.start, self.low = action.note, action.start, action.low
        self.next = max(self.start, self.low)
        self._tail = action.note.tail if action.check else None
        self.log.assign(self.topic, self.number, self._tail.offset if self._tail is not None else self.next)
        self.assigned, self.state = True, State.READING
        log.info(
            "reading",
            extra={
                "topic": self.topic,
                "partition": self.number,
                "from": self.start,
                "replay_to": action.note.intent.end if action.note.intent else None,
            },
        )
        return False

    def _finished(self) -> bool:
        assert self._finish is not None
        self.log.commit(self.token, self.topic, self.number, self._finish.end, self._finish.note)
        self._finish, self.state = None, State.RECOVERING
        self._recovering = self.jobs.recover(self.token, self.topic, self.number)
        return False

    def _replayed(self) -> bool:
        """A replay has read to the intent's end: messages before it are the batch, the others are kept."""
        intent = self.note.intent
        if intent is None or self.next < intent.end or self._tail is not None:
            return False
        mine: list[Chunk] = []
        later: list[Chunk] = []
        for chunk in self._chunks:
            row = int(chunk.offsets.searchsorted(intent.end))
            mine += [chunk.cut(0, row)] if row else []
            later += [chunk.cut(row, len(chunk))] if row < len(chunk) else []
        if mine if intent.empty else not mine and self.low <= self.start:
            raise FatalError(
                f"{self.topic}/{self.number}: the batch [{self.start}, {intent.end}) was to be stored again, and the "
                f"log holds {'other records' if mine else 'none of it'}: it was compacted or truncated meanwhile"
            )
        self._begin(Cause.REPLAY, mine, later, intent.end)
        return True

    def _begin(self, cause: Cause, chunks: list[Chunk], later: list[Chunk], end: int) -> None:
        assert self.place is not None
        self._pause(pause=True)
        self._cause, self._away = cause, sum(c.size for c in chunks)
        self._keep(later)
        self.state = State.PREPARING
        span = Span(self.start, end, self.low)
        self._preparing = self.jobs.prepare(self.token, self.place, self.note, span, chunks)

    def _prepared(self) -> bool:
        if self._preparing is None or not self._preparing.done():
            return False
        self._plans, self._preparing = deque(self._preparing.result()), None
        self.state = State.INTENDING
        return True

    def _intended(self) -> bool:
        plan = self._plans[0]
        if self.note.intent is None:  # a replay's is committed already
            self.log.commit(self.token, self.topic, self.number, self.start, plan.before)
            self.note = plan.before
        self._storing = self.jobs.store(self.token, plan)
        self.state = State.STORING
        return True

    def _stored(self) -> bool:
        if self._storing is None or not self._storing.done():
            return False
        plan, entry = self._plans[0], self._storing.result()
        after = replace(plan.after, last=entry.last)  # files that were there already may go beyond the plan
        self.log.commit(self.token, self.topic, self.number, entry.end, after)
        self._plans.popleft()
        self._storing = None
        self.note, self.start = after, entry.end
        self._count(entry)
        if self._plans:
            self.state = State.INTENDING
            return True
        self._away, self.state = 0, State.READING
        self._pause(pause=False)
        return False

    def _count(self, entry: Entry) -> None:
        stream = stream_of(self.topic)
        metrics.ARCHIVE_ROWS.labels(stream).inc(entry.rows)
        metrics.ARCHIVE_REPEATS.labels(stream).inc(ledger.count(entry.repeats))
        metrics.ARCHIVE_FILES.labels(stream).inc(len(entry.files))
        metrics.ARCHIVE_BYTES.labels(stream).inc(sum(f.size for f in entry.files))
        metrics.ARCHIVE_BATCHES.labels(stream, self._cause).inc()
        log.info(
            "stored",
            extra={
                "topic": self.topic,
                "partition": self.number,
                "from": entry.start,
                "to": entry.end,
                "rows": entry.rows,
                "files": len(entry.files),
                "repeats": ledger.count(entry.repeats),
                "refused": ledger.count(entry.refused),
                "cause": self._cause,
            },
        )

    def _keep(self, chunks: list[Chunk]) -> None:
        self._chunks = chunks
        self._records = sum(map(len, chunks))
        self._size = sum(c.size for c in chunks)

    def _pause(self, *, pause: bool) -> None:
        if pause != self._paused:
            (self.log.pause if pause else self.log.resume)(self.topic, self.number)
            self._paused = pause
