"""From one topic to another, partition p to partition p, exactly once: the loop, and the step that a processor adds.

1. Read a batch, and let the step decide what becomes of it: pure, so repeatable while a server is away.
2. Produce its rows in the order of the source, each numbered by its source position; its dead letters too.
3. Wait until Kafka has them all. If any failed for good: exit without commit.
4. Commit each partition with the note that the next row's `prev` comes from, if the partition is still ours.

What was produced and not committed is produced again by the next owner of the partition, with the same source
positions: readers of the target drop it by them.
"""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeVar

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.deadletters import Letter
from headrace.kafka import Message, columns
from headrace.kafka.ends import log_ends
from headrace.kafka.watch import KafkaWatch
from headrace.protocol.clean_note import CleanNote, encode
from headrace.runtime.health import Checks
from headrace.runtime.metrics import LAG
from processors.group import beginning, topics
from processors.group.commits import Commits, Wanted
from processors.group.emit import Emitter, Row
from processors.group.hold import Hold, PollHold, Stopped
from processors.group.member import Member, consumer
from processors.group.partition import Found, SourcePartition
from processors.group.startup import await_kafka, until_there
from processors.group.token import Partition, Revoked, Token

log = logging.getLogger(__name__)
P = TypeVar("P", bound=SourcePartition)

CHECKS = (KafkaWatch.CHECK, "group")  # what /readyz has to know of a relay
_POLL_SECONDS, _GATHER_SECONDS = 0.5, 0.05  # for the first message; for more, which together cost less
_JOIN_SECONDS = 0.02  # until the group has answered: reading returns no sooner, whatever was assigned meanwhile
_CHECK_SECONDS = 10.0
_STALL_SECONDS = 0.5
_REPORT_SECONDS = 5.0
_BATCH_BYTES = 32 * 1024 * 1024
_MOST_REST = 10_000  # messages that were read and not dealt with, until no more are read
_TURN_SECONDS = 10.0  # to decide a batch in: while one stream's readings take long, the others wait
_MADE_BYTES, _ROW_BYTES = 64 * 1024 * 1024, 1000  # of the rows that a batch becomes; of one beside its value
_VALUE = itemgetter(1)  # of a row
_FIRST_COUNT = _LEAST_COUNT = 16  # messages to ask for at once: few, until it is known what they are and become
_CONSUMER = {
    "queued.max.messages.kbytes": 8 * 1024,  # of all partitions; in memory it is about three times as much
    "fetch.max.bytes": 4 * 1024 * 1024,  # what was fetched together stays while one message of it is in use
    "fetch.message.max.bytes": 1024 * 1024,  # of each partition; a larger message comes too
    "fetch.min.bytes": 8 * 1024,  # or what there is after the wait: the broker pays for each answer
    "fetch.wait.max.ms": 200,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a relay is to do."""

    service: str  # the label of its metrics
    kafka: Kafka
    group: str
    batch: int  # messages at most in one poll
    targets: Mapping[str, str]  # where the rows of each source topic go
    letters: str = ""  # the topic of its dead letters; empty if it writes none
    letter_bytes: int = 0  # the largest of them
    shelve: Callable[[Letter], Letter] = lambda letter: letter  # makes a letter fit its topic; it may use the store
    id_of: beginning.IdOf = beginning.same_id  # the event id of a row of a source record
    by_target: bool = False  # whether the lag is told by the target's name: several relays read one source


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of messages of one partition. `offset` is committed with `note` once Kafka has rows and letters.

    `done` is called after the commit: count, and remember what the next batch needs. Messages from `offset` on come
    again in the next batch: one that becomes a great many rows may take several.
    """

    partition: SourcePartition
    rows: Sequence[Row]
    letters: Sequence[Letter]
    offset: int
    note: CleanNote
    done: Callable[[], None]


class Step(Protocol[P]):
    """What a processor adds to the loop: a class that inherits from this. All of it is called on the poll thread."""

    def meet(self, wait: PollHold, /) -> None:  # noqa: ARG002
        """Look at every server that the step needs besides Kafka, before the group is joined. Default: none."""
        return

    def coming(self, found: Mapping[Partition, Found], /) -> None:  # noqa: ARG002
        """Look at what helps to begin these partitions, all at once: each is begun next. By default there is nothing.

        Those that were ours under an earlier assignment, and are at hand, are not among them.
        """
        return

    def leaving(self, partitions: Sequence[P], /) -> None:  # noqa: ARG002
        """These go, and are ours until this returns: the group waits for it. By default there is nothing to do."""
        return

    def begin(self, source: Partition, token: Token, found: Found, kept: P | None, /) -> P:
        """A partition that was just assigned. `kept`: the same one under an earlier assignment, if it is at hand.

        Its note, if it is `pending`, is committed before a message is decided. TransientError: it is called again.
        """

    def decide(
        self, wait: PollHold, batch: Sequence[tuple[P, list[Message]]], limits: Mapping[str, int], /
    ) -> Sequence[Outcome]:
        """What becomes of a batch: new messages by partition, each list with at least one, in order.

        `wait` holds while a server is away. `limits`: the largest message in bytes that each target takes. Change
        nothing: it may be that nothing of the outcome is committed.
        """

    def skipped(self, it: P, count: int, /) -> None:
        """Count offsets at the log's end that hold no record, and were committed over."""

    def report(self, it: P, /) -> None:  # noqa: ARG002
        """Log what an operator should know, every few seconds. By default there is nothing."""
        return


def run(settings: Settings, step: Step[P], health: Checks, stop: threading.Event) -> None:
    """Relay until `stop` is set. FatalError and ConfigError as the design has them; an outage is waited out.

    `health` has the checks of CHECKS.
    """
    if not await_kafka(settings.kafka, settings.group, list(settings.targets), health, stop):
        return
    client = until_there("kafka", partial(consumer, settings.kafka, settings.group, **_CONSUMER), health, stop)
    if client is None:
        return
    relay = Relay(settings, step, health, client, stop)
    try:
        relay.join()
        # A batch is tens of thousands of small objects and no cycles: looking for some took half of the time.
        gc.freeze()
        gc.disable()
        with KafkaWatch(settings.kafka, health, relay.clients):
            while not stop.is_set():
                relay.turn()
    except Stopped:
        if relay.wait.working:
            log.warning("the work in hand could not be finished: the next start does it again")
    finally:
        gc.enable()
        client.close()


def fitting(asked: int, count: int, seconds: float, made: Iterable[Sequence[Row]]) -> int:
    """How many messages to ask for next, after `count` took `seconds` to decide and became the rows `made`."""
    size = sum(sum(map(len, filter(None, map(_VALUE, rows)))) + _ROW_BYTES * len(rows) for rows in made)
    share = max(seconds / _TURN_SECONDS, size / _MADE_BYTES)
    if share <= 1 / 4:  # four times as many are decided in time as well
        return asked
    return max(_LEAST_COUNT, min(asked, int(count / share)))


def _ours(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those of partitions that did not go in a wait: their next owners have looked at what was emitted by then."""
    return [o for o in outcomes if o.partition.token.live]


class Relay(Generic[P]):
    """The loop, from `join` on."""

    def __init__(
        self, settings: Settings, step: Step[P], health: Checks, client: kafka.Consumer, stop: threading.Event
    ) -> None:
        self._settings, self._step, self._health = settings, step, health
        self._client, self._commits = client, Commits(client)
        hold = Hold(health)
        self._member = Member(client, leaving=self._leaving, refused=hold.refused)
        self.wait = PollHold(hold, self._member, stop)
        self._partitions: dict[Partition, P] = {}
        self._pairs: dict[str, topics.Pair] = {}
        self._count = _FIRST_COUNT
        self._rest: list[tuple[P, list[Message]]] = []  # read, and not dealt with
        self._later: dict[Partition, int] = {}  # where logs end of which there are messages to deal with before
        self._moved = False  # whether the last batch became anything
        self._checked = self._reported = self._seen = time.monotonic()

    def join(self) -> None:
        """Look at every server that is needed, and join the group."""
        self._step.meet(self.wait)
        self.wait.hold("kafka", "looking for the topics", self._look_at_topics)
        limits = [n for p in self._pairs.values() for n in (p.source.max_message_bytes, p.target.max_message_bytes)]
        limits += [self._settings.letter_bytes] if self._settings.letters else []
        make = partial(Emitter, self._settings.kafka, limits, self.wait.delivering)
        self.emitter = self.wait.hold("kafka", "making a producer", make)
        self._member.subscribe(list(self._settings.targets))

    def clients(self) -> dict[str, Any]:
        """What a KafkaWatch is to ask."""
        return {"reading": self._member.contact, "producing": self.emitter.producer}

    def turn(self) -> None:
        """One batch, if there is one."""
        self._health.progress()
        if self._member.waiting:
            self.wait.hold("kafka", "reading where to begin", self._begin)
        if self._member.joined:  # also a member that stands by, without a partition
            self.wait.admit()
        self._health.ready("group", self._member.joined, "not a member yet")
        waits, begun = _POLL_SECONDS if self._member.joined else _JOIN_SECONDS, time.monotonic()
        if self._rest and self._moved:
            waits = 0.0
        if sum(len(rest) for _, rest in self._rest) < _MOST_REST:
            groups = self._member.read(self._count, waits, _GATHER_SECONDS)
        else:
            groups = {}
            self.wait.alive()
        now = time.monotonic()
        if now - self._seen - min(waits, now - begun) > _STALL_SECONDS:
            # Kafka tells a reader that its topic was made anew only while it reads: this may be another log by now.
            self.wait.hold("kafka", "looking at the topics after a pause", self._look_at_topics)
        self._seen = now
        self._process(groups)
        left = {it.source for it, _ in self._rest}
        ends = self._later | self._member.ends()
        self._later = {p: end for p, end in ends.items() if p in left}
        self._pass_over({p: end for p, end in ends.items() if p not in left})
        now = time.monotonic()
        if now - self._reported > _REPORT_SECONDS:
            self._reported = now
            self._report()
        if now - self._checked > _CHECK_SECONDS:
            self._checked = now
            gc.collect()
            self.wait.hold("kafka", "looking at the topics again", self._look_at_topics)

    def _look_at_topics(self) -> None:
        it = self._settings
        self._pairs = topics.check(it.kafka, it.targets, [it.letters] if it.letters else [], self._pairs)

    def _begin(self) -> None:
        """Find where each partition that was just assigned goes on, and start reading there."""
        self._look_at_topics()
        self._partitions = {p: it for p, it in self._partitions.items() if p in self._member.tokens}
        waiting = self._member.waiting
        committed = kafka.committed(self._client, list(waiting)) if waiting else {}
        ends = log_ends(self._settings.kafka, list(waiting))
        first = {p: ends[p] for p in waiting if committed[p][0] is None}
        beginning.check(self._settings.kafka, first, self._settings.targets, self._settings.id_of)
        found = {
            p: Found(self._settings.targets[p[0]], self._pairs[p[0]].source.id, *ends[p], *committed[p])
            for p in waiting
        }
        self._step.coming({p: it for p, it in found.items() if p not in self._partitions})
        begun = [self._step.begin(p, token, found[p], self._partitions.get(p)) for p, token in waiting.items()]
        for it in begun:
            if it.pending is not None and not self._noted(it, it.pending):
                continue
            self._partitions[it.source] = it
            self._member.start(it.source, it.begin)
            about = {"partition": f"{it.topic}/{it.number}", "offset": it.next, "end": ends[it.source][1]}
            log.info("partition begins", extra={**about, "read_from": it.begin})

    def _noted(self, it: SourcePartition, note: CleanNote) -> bool:
        """Commit the note that a partition begins with. Whether it is still ours."""
        try:
            self._commits.commit(it.token, it.source, it.next, encode(note))
        except Revoked:
            return False
        it.note, it.pending = note, None
        return True

    def _leaving(self, partitions: Sequence[Partition]) -> None:
        """Stop telling of these. A partition that was lost may come back soon: keep it for `begin` until then."""
        ours = [it for p in partitions if (it := self._partitions.get(p)) is not None and it.token.live]
        if ours:
            self._step.leaving(ours)
        for topic, number in partitions:
            self._later.pop((topic, number), None)  # whoever has it next, reads it again
            LAG.remove(self._settings.service, self._called(topic), str(number))
            it = self._partitions.get((topic, number))
            if it is not None and it.token.live:
                del self._partitions[topic, number]

    def _process(self, groups: Mapping[Partition, list[Message]]) -> None:
        batch = self._with_rest(self._new(groups))
        if not batch:
            return
        self.wait.working = True
        limits = {self._settings.targets[s]: pair.target.max_message_bytes for s, pair in self._pairs.items()}
        begun = time.monotonic()
        outcomes = self._shelved(_ours(self._step.decide(self.wait, batch, limits)))
        seconds, count = time.monotonic() - begun, sum(len(new) for _, new in batch)
        self._count = fitting(self._count, count, seconds, [o.rows for o in outcomes])
        for o in outcomes:
            self.emitter.rows(o.partition.target, o.partition.number, o.rows)
            self.emitter.letters(self._settings.letters, o.letters)
        self.emitter.flush()
        self.wait.delivered()
        done = self._commit([(o.partition, o.offset, o.note) for o in outcomes])
        for o in outcomes:
            if o.partition.source in done:
                o.done()
        left = [(it, new[columns.before(new, it.next) :]) for it, new in batch if it.token.live]
        self._rest, self._moved = [(it, rest) for it, rest in left if rest], bool(outcomes)
        self.wait.working = False

    def _shelved(self, outcomes: list[Outcome]) -> list[Outcome]:
        if not any(o.letters for o in outcomes):
            return outcomes
        shelve = self._settings.shelve
        out = self.wait.hold(
            "store",
            "shelving dead letters",
            lambda: [replace(o, letters=[shelve(letter) for letter in o.letters]) for o in outcomes],
        )
        return _ours(out)

    def _new(self, groups: Mapping[Partition, list[Message]]) -> list[tuple[P, list[Message]]]:
        """The messages that are still to be dealt with, and ask for as many next time as fit their memory."""
        out = []
        for p, group in groups.items():
            it = self._partitions.get(p)
            if it is None or not it.token.live:
                continue  # taken from us since it was read
            new = it.new(group)
            if new:
                out.append((it, new))
        if groups:
            size, count = sum(sum(map(len, new)) for _, new in out), sum(map(len, groups.values()))
            fitting = _BATCH_BYTES // max(1, size // count)
            self._count = max(_LEAST_COUNT, min(self._settings.batch, fitting, 4 * self._count))
        return out

    def _with_rest(self, batch: list[tuple[P, list[Message]]]) -> list[tuple[P, list[Message]]]:
        """The batch, each partition's messages after those that are left of the batches before."""
        if not self._rest:  # as is nearly always the case
            return batch
        out: dict[Token, tuple[P, list[Message]]] = {}
        for it, messages in (*self._rest, *batch):
            if it.token.live:
                _, before = out.get(it.token, (it, []))
                out[it.token] = it, [*before, *messages]
        return list(out.values())

    def _pass_over(self, ends: Mapping[Partition, int]) -> None:
        """Commit over control records at the end of logs: else they would count as waiting until a reading comes."""
        over: list[tuple[P, int, CleanNote]] = []
        for p, end in ends.items():
            it = self._partitions.get(p)
            if it is not None and it.token.live and (note := it.ended(end)) is not None:
                over.append((it, end, note))
        counts = [end - it.next for it, end, _ in over]
        done = self._commit(over)
        for (it, _, _), count in zip(over, counts, strict=True):
            if it.source in done:
                self._step.skipped(it, count)

    def _commit(self, wanted: Sequence[tuple[SourcePartition, int, CleanNote]]) -> set[Partition]:
        """Commit offset and note of these, and return those that were: not what is another member's by now."""
        if not wanted:
            return set()
        encoded = [Wanted(it.token, it.source, offset, encode(note)) for it, offset, note in wanted]
        done = self.wait.hold("kafka", "committing", lambda: self._commits.commit_all(encoded))
        for it, offset, note in wanted:
            if it.source in done:
                it.committed(offset, note)
        return done

    def _called(self, topic: str) -> str:
        return self._settings.targets[topic] if self._settings.by_target else topic

    def _report(self) -> None:
        """Say how far behind each partition is."""
        for it in self._partitions.values():
            if it.token.live:
                behind = max(0, self._member.end(it.source) - it.next)
                LAG.labels(self._settings.service, self._called(it.topic), str(it.number)).set(behind)
                self._step.report(it)
