"""One assigned partition, as the poll thread drives it through the protocol that service.py states.

    Recovering -> Reading -> Preparing -> Intending -> Storing -> Reading
        |  ^                                  ^           |
        v  |                                  +-----------+  more batches of what was prepared
      Finishing

The states hold what is under way; the rest of AssignedPartition is what stays true across them.
"""

import logging
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, replace

from headrace.errors import FatalError
from headrace.lake.ledger import Entry
from headrace.protocol.archive_note import ArchiveNote, encode
from headrace.protocol.tail import Tail
from processors.archive.buffer import EMPTY, Buffer, Cause, Fill
from processors.archive.chunk import Chunk
from processors.archive.plan import BatchPlan, Incarnation, Span
from processors.archive.recovery import ADOPT, Finish, Read, same_log
from processors.archive.work import Assessment, Work, count_stored
from processors.group.commits import Wanted
from processors.group.member import Member
from processors.group.token import Partition, Revoked, Token

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Batches:
    """What one span of the log is stored in, one after the other."""

    cause: Cause
    plans: deque[BatchPlan]


@dataclass(frozen=True, slots=True)
class Recovering:
    """A job finds out where the partition stands."""

    job: Future[Assessment]


@dataclass(frozen=True, slots=True)
class Finishing:
    """A batch is stored whole, and the commit of its end is missing."""

    action: Finish


@dataclass(frozen=True, slots=True)
class Reading:
    """Messages come into the buffer."""


@dataclass(frozen=True, slots=True)
class Preparing:
    """A job makes batches of what was buffered."""

    batches: _Batches  # its plans are still to come
    job: Future[list[BatchPlan]]


@dataclass(frozen=True, slots=True)
class Intending:
    """The intent of the first batch is to be committed."""

    batches: _Batches


@dataclass(frozen=True, slots=True)
class Storing:
    """A job stores the first batch; then its end is to be committed."""

    batches: _Batches
    job: Future[Entry]


State = Recovering | Finishing | Reading | Preparing | Intending | Storing


class AssignedPartition:
    """A partition under one assignment.

    `step` moves it on as far as it goes without waiting; it then says what must be committed before it can go on, and
    `committed` tells it that this is done. So the commits of many partitions go in one request.
    """

    def __init__(self, partition: Partition, token: Token, work: Work, member: Member) -> None:
        self.partition, self.token = partition, token
        self.note = ArchiveNote("")  # what is committed beside `start`
        self.start = 0  # committed, or to be committed: where the next batch begins
        self._work, self._member = work, member
        self._incarnation = Incarnation(partition[0], "", partition[1])
        self._low = 0  # where the log begins: above `start` where records of an open intent are gone
        self._tail: Tail | None = None  # of the record before `start`, until it has been read and compared
        self._buffer = Buffer(0, 0)
        self._paused = False
        self._under_way = 0  # bytes of the messages that batches are made of
        self._state: State = Recovering(work.recover(token, *partition))

    @property
    def assigned(self) -> bool:
        """Whether the consumer has been told where to read it from."""
        return not isinstance(self._state, Recovering | Finishing)

    @property
    def next(self) -> int:
        """Offset of the next message to read."""
        return self._buffer.next

    @property
    def held(self) -> int:
        """Bytes of messages in memory, those of batches under way included."""
        return self._buffer.size + self._under_way

    @property
    def buffered(self) -> int:
        """Bytes of messages that `flush` would store now."""
        return self._buffer.size if isinstance(self._state, Reading) and not self.redoing else 0

    @property
    def redoing(self) -> bool:
        """Whether the batch of an open intent is being read again: it must reach its end, whatever memory it takes."""
        return isinstance(self._state, Reading) and self.note.intent is not None

    @property
    def gap(self) -> int:
        """Offsets without a record at the log's end that `flush` would account for now."""
        return self._buffer.gap if isinstance(self._state, Reading) and not self.redoing and self._tail is None else 0

    @property
    def busy(self) -> bool:
        """Whether a batch is under way, or a commit is missing."""
        return not isinstance(self._state, Reading | Recovering)

    @property
    def waits(self) -> bool:
        """Whether a job or a commit moves it on. Else messages do, or the end of the log, or `flush`."""
        return not isinstance(self._state, Reading)

    @property
    def quiet(self) -> bool:
        """Whether it is read, and nothing that came waits to be stored or accounted for."""
        return isinstance(self._state, Reading) and not self.redoing and not (self._buffer.size or self._buffer.gap)

    @property
    def paused(self) -> bool:
        """Whether it is not read now."""
        return self._paused

    def fill(self) -> Fill:
        """How full the buffer is; empty while it can't be stored."""
        return self._buffer.fill() if self.buffered > 0 or self.gap > 0 else EMPTY

    def add(self, chunk: Chunk, now: float, waited: float = 0.0) -> None:
        """Buffer messages, read at the time `now`, the first of which had waited so many seconds in Kafka.

        FatalError where this is not the log that was read before.
        """
        if self._tail is not None:  # the first message is the record before the start
            same = same_log(self._incarnation, self.start, self._tail, chunk.tail(0))
            chunk, self._tail = chunk.cut(1, len(chunk)) if same else chunk, None
        if len(chunk) == 0:
            return
        if int(chunk.offsets[0]) < self.next:
            raise FatalError(
                f"{self._incarnation.name}: there is a record at offset {chunk.offsets[0]}, where the log had none: it "
                f"was truncated and written again. {ADOPT}"
            )
        self._buffer.add(chunk, now, waited)

    def end_of_log(self, offset: int, now: float) -> None:
        """The log ends at `offset` for now: the offsets before it that did not come hold no record."""
        if self._tail is not None:
            same_log(self._incarnation, self.start, self._tail, None)
            self._tail = None
        if offset > self.next:
            self._buffer.pass_over(offset, now)

    def flush(self, cause: Cause) -> None:
        """Begin to store what is buffered, or to account for a gap."""
        if self.buffered > 0 or self.gap > 0:
            self._prepare(cause, self._buffer.take(self.next))

    def throttle(self, *, full: bool) -> None:
        """Stop reading while memory is `full`, else read on. A redo reads on in any case."""
        if isinstance(self._state, Reading) and full != self._paused and not (full and self.redoing):
            self._pause(pause=full)

    def step(self) -> Wanted | None:
        """Go on with all that is done. Returns what is to be committed before it goes on. Raises what jobs raise."""
        while self._advance():
            pass
        return self._wanted()

    def committed(self) -> None:
        """What `step` returned is committed."""
        match self._state:
            case Finishing():
                self._state = Recovering(self._work.recover(self.token, *self.partition))
            case Intending(batches):
                self.note = batches.plans[0].before
                self._store(batches)
            case Storing(batches, job):
                self._stored(batches, job.result())

    def leave(self, seconds: float) -> Wanted | None:
        """The partition is being taken away: what is stored within `seconds` is to be committed, the rest is dropped.

        Its token is void after that commit at the latest; nobody calls `step` again.
        """
        try:
            self.token.check()
            if isinstance(self._state, Storing):
                self._state.job.exception(seconds)
                return self._wanted()
        except TimeoutError:
            log.info("gave up the partition while storing", extra=self._about())
        except Revoked:
            log.info("lost", extra={**self._about(), "state": type(self._state).__name__.lower()})
        return None

    def _advance(self) -> bool:
        """Make one transition that needs no commit, if its time has come; whether another may follow at once."""
        match self._state:
            case Recovering(job) if job.done():
                return self._recovered(job.result())
            case Reading():
                return self._redo()
            case Preparing(batches, job) if job.done():
                batches.plans.extend(job.result())
                self._state = Intending(batches)
                return True
            case Intending(batches) if self.note.intent is not None:  # that of a redo is committed already
                self._store(batches)
        return False

    def _wanted(self) -> Wanted | None:
        """What must be committed now."""
        match self._state:
            case Finishing(action):
                return self._commit(action.end, action.note)
            case Intending(batches):
                return self._commit(self.start, batches.plans[0].before)
            case Storing(batches, job) if job.done():
                return self._commit(job.result().end, _after(batches, job.result()))
        return None

    def _recovered(self, found: Assessment) -> bool:
        self._incarnation, action = found.incarnation, found.action
        if isinstance(action, Finish):
            self._state = Finishing(action)
            return True
        assert isinstance(action, Read)
        self.note, self.start, self._low = action.note, action.start, action.low
        self._buffer = Buffer(self.start, max(self.start, self._low))
        self._tail = action.note.tail if action.check else None
        self._member.start(self.partition, self._tail.offset if self._tail is not None else self.next)
        self._state = Reading()
        intent = self.note.intent
        log.info("reading", extra={**self._about(), "from": self.start, "redo_to": intent.end if intent else None})
        return False

    def _redo(self) -> bool:
        """Store the batch of an open intent, once all of it has been read. Messages after its end stay buffered."""
        intent = self.note.intent
        if intent is None or self.next < intent.end or self._tail is not None:
            return False
        mine = self._buffer.take(intent.end)
        if mine if intent.empty else not mine and self._low <= self.start:
            raise FatalError(
                f"{self._incarnation.name}: the batch [{self.start}, {intent.end}) was to be stored again, and the "
                f"log holds {'other records' if mine else 'none of it'}: it was compacted or truncated meanwhile"
            )
        self._prepare(Cause.REDO, mine)
        return True

    def _prepare(self, cause: Cause, chunks: list[Chunk]) -> None:
        """Make batches of these messages, which are no longer in the buffer."""
        self._pause(pause=True)
        span = Span(self.start, self._buffer.start, self._low)
        self._under_way = sum(c.size for c in chunks)
        batches = _Batches(cause, deque())
        self._state = Preparing(batches, self._work.prepare(self.token, self._incarnation, self.note, span, chunks))

    def _store(self, batches: _Batches) -> None:
        """Store the first batch, whose intent is committed."""
        self._state = Storing(batches, self._work.store(self.token, batches.plans[0]))

    def _stored(self, batches: _Batches, entry: Entry) -> None:
        self.note, self.start = _after(batches, entry), entry.end
        batches.plans.popleft()
        count_stored(entry, batches.cause)
        if batches.plans:
            self._state = Intending(batches)
            return
        self._state, self._under_way = Reading(), 0
        self._pause(pause=False)

    def _pause(self, *, pause: bool) -> None:
        if pause != self._paused:
            (self._member.pause if pause else self._member.resume)(self.partition)
            self._paused = pause

    def _commit(self, offset: int, note: ArchiveNote) -> Wanted:
        return Wanted(self.token, self.partition, offset, encode(note))

    def _about(self) -> dict[str, object]:
        return {"topic": self.partition[0], "partition": self.partition[1]}


def _after(batches: _Batches, entry: Entry) -> ArchiveNote:
    """The note for the end of the first batch. Files that were there before this process may hold rows beyond it."""
    return replace(batches.plans[0].after, last=entry.last)
