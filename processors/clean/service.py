"""clean's loop: consume, judge, produce, see that Kafka has it, commit. In that order.

1. Judge a batch: pure, and repeatable while the registry or the store is away.
2. Produce its rows in raw order, its refused rows as dead letters.
3. Wait until Kafka has them all. Any that failed for good: exit without commit.
4. Commit each partition with the note that the next row's `prev` comes from, where it is still ours.

What was produced but not committed is produced again by whoever comes next, with the same source positions: readers
drop it by them.
"""

import gc
import logging
import threading
import time
from collections import Counter

from headrace import kafka
from headrace.cleanmeta import Note, encode
from headrace.config import Config
from headrace.errors import ConfigError
from headrace.health import Health
from headrace.kafka import Message
from headrace.kafkawatch import KafkaWatch
from headrace.metrics import CLEAN_ROWS, DEAD_LETTERS, LAG
from headrace.names import clean_topic, raw_topic, stream_of
from headrace.registry import Registry
from headrace.store.open import open_store
from headrace.wire import POSITION
from processors.assignment import Assignment, Place
from processors.clean import beginning, topics
from processors.clean.batch import Stretch, decide, emitted, stretch, write_letters
from processors.clean.emit import Emitter
from processors.clean.partition import Found, Partition
from processors.clean.patience import Patience, Stopped
from processors.clean.schemas import Schemas
from processors.clean.topics import Pair
from processors.metadata import Commits
from processors.startup import await_kafka, until_there

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_CHECK_SECONDS = 10.0
_STALL_SECONDS = 0.5
_REPORT_SECONDS = 5.0
_BATCH_BYTES = 32 * 1024 * 1024
_CONSUMER = {
    "queued.max.messages.kbytes": 64 * 1024,
    "fetch.max.bytes": 16 * 1024 * 1024,
    "fetch.message.max.bytes": 4 * 1024 * 1024,
    "partition.assignment.strategy": "range",
    "session.timeout.ms": 10_000,  # how long partitions wait after a crash
    "heartbeat.interval.ms": 2_000,
    "enable.partition.eof": True,
}


def run(config: Config, stop: threading.Event) -> None:
    """Clean until `stop` is set. FatalError and ConfigError as the design has them; an outage is waited out."""
    streams = config.clean.streams or tuple(config.streams)
    if not streams:
        raise ConfigError("streams: there is none, so clean has nothing to do. Add one, with the routes that feed it")
    with (
        Health(config.clean.http, (KafkaWatch.CHECK, "registry", "group")) as health,
        Registry(config.registry) as registry,
    ):
        log.info("clean started", extra={"streams": list(streams), "http_port": health.port})
        if not await_kafka(config.kafka, config.clean.group, [raw_topic(s) for s in streams], health, stop):
            return
        consumer = until_there(lambda: kafka.consumer(config.kafka, config.clean.group, **_CONSUMER), health, stop)
        if consumer is None:
            return
        patience = Patience(consumer, health, stop)
        try:
            cleaner = _Cleaner(config, streams, health, registry, consumer, patience)
            # A batch is tens of thousands of small objects and no cycles: looking for some took half of the time.
            gc.freeze()
            gc.disable()
            with KafkaWatch(config.kafka, health, lambda: {"reading": consumer, "producing": cleaner.producer}):
                while not stop.is_set():
                    cleaner.turn()
        except Stopped:
            if patience.working:
                log.warning("the work in hand could not be finished: the next start does it again")
        finally:
            gc.enable()
            consumer.close()


class _Cleaner:
    def __init__(
        self,
        config: Config,
        streams: tuple[str, ...],
        health: Health,
        registry: Registry,
        consumer: kafka.Consumer,
        patience: Patience,
    ) -> None:
        self._config, self._streams, self._health = config, streams, health
        self._consumer, self._patience = consumer, patience
        self._schemas = Schemas(registry.schema_text)
        self._partitions: dict[Place, Partition] = {}
        self._count = 500  # messages to ask for at once: few, until their size is known
        self._checked = self._reported = self._seen = time.monotonic()
        subject = f"{raw_topic(streams[0])}-value"
        patience.hold("registry", "reaching the registry", lambda: registry.latest(subject))
        self._commits = Commits(consumer)
        self._pairs: dict[str, Pair] = {}
        patience.hold("kafka", "looking for the topics", self._look_at_topics)
        limits = [
            n for pair in self._pairs.values() for n in (pair.raw.max_message_bytes, pair.clean.max_message_bytes)
        ]
        emitter = patience.hold("kafka", "making a producer", lambda: Emitter(config, limits, patience.delivering))
        assert emitter is not None, "it is wanted until it is there"
        self._emitter = emitter
        self._assignment = Assignment(consumer)
        self._assignment.subscribe([raw_topic(s) for s in streams])

    @property
    def producer(self) -> kafka.Producer:
        """What it produces with."""
        return self._emitter.producer

    def turn(self) -> None:
        """One batch, if there is one."""
        self._health.progress()
        if self._assignment.fresh:
            self._patience.hold("kafka", "reading where to begin", self._begin, lambda: self._assignment.fresh)
        self._health.ready("group", self._assignment.joined, "not a member yet")
        messages = self._patience.consume(self._count, _POLL_SECONDS)
        now = time.monotonic()
        if now - self._seen > _STALL_SECONDS:
            # Kafka tells a reader that its topic was made anew only while it reads: this may be another log by now.
            self._patience.hold("kafka", "looking at the topics after a pause", self._look_at_topics)
        self._seen = now
        self._process(messages)
        self._pass_over(self._patience.ends())
        now = time.monotonic()
        if now - self._reported > _REPORT_SECONDS:
            self._reported = now
            self._report()
        if now - self._checked > _CHECK_SECONDS:
            self._checked = now
            gc.collect()
            self._patience.hold("kafka", "looking at the topics again", self._look_at_topics)

    def _look_at_topics(self) -> None:
        self._pairs = topics.check(self._config, self._streams, self._pairs)

    def _begin(self) -> None:
        """Find where each partition that was just assigned goes on, and start reading there."""
        self._look_at_topics()
        tokens = dict(self._assignment.tokens)
        committed = kafka.committed(self._consumer, list(tokens)) if tokens else {}
        fresh: dict[Place, Partition] = {}
        for place, token in tokens.items():
            low, high = kafka.watermarks(self._consumer, *place)
            if committed[place][0] is None:
                beginning.check(self._config, place, low, high)
            found = Found(self._pairs[stream_of(place[0])].raw.id, low, high, *committed[place])
            partition = Partition(place, token, found, self._partitions.get(place), self._config.clean.lookback)
            fresh[place] = partition
            about = {"partition": f"{place[0]}/{place[1]}", "offset": partition.next, "end": high}
            log.info("partition begins", extra={**about, "look_back_from": partition.begin})
        for topic, number in self._partitions.keys() - fresh.keys():
            LAG.remove("clean", topic, str(number))  # another member tells of it now
        self._partitions = fresh
        self._patience.forget()
        self._assignment.start({place: partition.begin for place, partition in fresh.items()})
        self._patience.let_in = True

    def _process(self, messages: list[Message]) -> None:
        stretches = self._take_apart(messages)
        if not stretches:
            return
        self._patience.working = True
        limits = {clean_topic(s): pair.clean.max_message_bytes for s, pair in self._pairs.items()}
        hold = self._patience.hold
        hold("registry", "judging", lambda: decide(stretches, self._schemas, limits))
        if any(s.judged.refused for s in stretches):
            hold("store", "shelving dead letters", lambda: self._write_letters(stretches))
        stretches = [s for s in stretches if s.partition.token.live]
        ends = [(s, *self._produce(s)) for s in stretches]
        self._emitter.settle()
        self._patience.delivered()
        for s, offset, note in ends:
            if self._commit(s.partition, offset, note):
                s.partition.lookback.add(s.ids)
                _count(stream_of(s.partition.topic), s)
        self._patience.working = False

    def _take_apart(self, messages: list[Message]) -> list[Stretch]:
        groups: dict[Place, list[Message]] = {}
        for m in messages:
            groups.setdefault((m.topic(), m.partition()), []).append(m)  # type: ignore[arg-type]
        out = []
        for place, group in groups.items():
            partition = self._partitions.get(place)
            if partition is None or not partition.token.live:
                continue  # fetched before the partition was taken from us
            partition.recognise(group)
            new = group
            if (group[0].offset() or 0) < partition.next:
                new = [m for m in group if (m.offset() or 0) >= partition.next]
                partition.remember(group[: len(group) - len(new)])
            if new:
                out.append(stretch(partition, new))
        if messages:
            self._adapt(out, len(messages))
        return out

    def _adapt(self, stretches: list[Stretch], count: int) -> None:
        """Ask for as many messages next time as fit the memory meant for them."""
        total = sum(len(v or b"") for s in stretches for v in s.values)
        fitting = _BATCH_BYTES // max(1, total // count)
        self._count = max(16, min(self._config.clean.batch, fitting, 4 * self._count))

    def _write_letters(self, stretches: list[Stretch]) -> None:
        for s in stretches:
            write_letters(s, self._config, self._put)

    def _put(self, key: str, data: bytes) -> None:
        """Store what is too large for Kafka: rare, so the store is opened only then."""
        open_store(self._config.store).put(key, data)

    def _produce(self, s: Stretch) -> tuple[int, Note]:
        """Hand over a stretch's rows and letters; returns what to commit once Kafka has them."""
        rows, last = emitted(s)
        rewritten = s.judged.rewritten
        self._emitter.rows(
            clean_topic(stream_of(s.partition.topic)),
            s.partition.number,
            ((s.keys[i], rewritten.get(i) or s.values[i], [*s.headers[i], (POSITION, at)]) for i, at in rows),
        )
        for letter in s.letters.values():
            self._emitter.letter(letter)
        return s.partition.advance(s.messages[-1], last, s.counts)

    def _pass_over(self, ends: dict[Place, int]) -> None:
        """Commit over control records at the end of logs: else they would count as waiting until a reading comes."""
        for place, end in ends.items():
            it = self._partitions.get(place)
            if it is not None and it.token.live and end > it.next:
                skipped = end - it.next
                if self._commit(it, end, it.pass_over(end)):
                    CLEAN_ROWS.labels(stream_of(it.topic), "skipped").inc(skipped)

    def _commit(self, it: Partition, offset: int, note: Note) -> bool:
        """Whether it was committed: not where the partition is another's by now."""
        metadata = encode(note)

        def commit() -> bool:
            self._commits.commit(it.topic, it.number, offset, metadata)
            return True

        if not self._patience.hold("kafka", "committing", commit, lambda: it.token.live):
            return False
        it.settle(offset, note)
        return True

    def _report(self) -> None:
        """Lag, and how far the look-back is."""
        for (topic, number), partition in self._partitions.items():
            _, high = self._consumer.get_watermark_offsets(kafka.TopicPartition(topic, number), cached=True)
            LAG.labels("clean", topic, str(number)).set(max(0, high - partition.next))
            if partition.looking_back:
                about = {"partition": f"{topic}/{number}", "at": partition.known, "until": partition.next}
                log.info("reading the look-back", extra=about)


def _count(stream: str, s: Stretch) -> None:
    for outcome, n in s.counts._asdict().items():
        if n:
            CLEAN_ROWS.labels(stream, outcome).inc(n)
    for reason, n in Counter(e.reason for e in s.judged.refused.values()).items():
        DEAD_LETTERS.labels("clean", stream, reason).inc(n)
