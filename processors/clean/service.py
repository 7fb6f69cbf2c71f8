"""clean: from `<stream>.raw` to `<stream>.clean`, as group/relay.py runs it. What clean does at each step:

1. Judge a batch: by its bytes, its schema ids, the raw append times and the look-back. Pure, and repeatable while the
   registry is away. Store the bytes of dead letters that are too large for Kafka; storing them again changes nothing.
   Then the stream's calibration and transform, on the rows that pass: each by the version noted for its offset.
2. Produce the rows in raw order, each with its `src` and `prev`, and the refused rows as dead letters.
3. Wait until Kafka has them all. If any failed for good: exit without commit.
4. Commit each partition with the note that the next row's `prev` comes from, if the partition is still ours; then add
   the readings to the look-back.

A transform or calibration that was changed counts from the raw offset on that no row or letter was emitted of yet. That
is committed, in the note, before the new version is used; what was emitted before and not committed is made by the old
one again.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from functools import partial

from headrace import deadletters
from headrace.config import Config
from headrace.kafka import Message
from headrace.protocol.names import clean_topic, raw_topic, stream_of
from headrace.runtime.health import Health
from headrace.runtime.metrics import CLEAN_ROWS, DEAD_LETTERS
from headrace.schema_registry.client import Registry
from headrace.store.open import open_store
from processors.clean.batch import Decided, decided, looked_back, raw_batch, verdicts
from processors.clean.lookback import Values
from processors.clean.partition import RawPartition
from processors.clean.schemas import known_of
from processors.clean.snapshots import STORE_SECONDS, Snapshots
from processors.clean.transforming import transformed
from processors.clean.transforms import Transforms
from processors.group import beginning, relay
from processors.group.hold import PollHold
from processors.group.partition import Found
from processors.group.refusal import shelved
from processors.group.relay import Outcome, Step
from processors.group.schemas import Schemas
from processors.group.token import Partition, Token

log = logging.getLogger(__name__)


def run(config: Config, stop: threading.Event) -> None:
    """Clean until `stop` is set. FatalError and ConfigError as the design has them; an outage is waited out."""
    with Health(config.clean.http, (*relay.CHECKS, "registry")) as health, Registry(config.registry) as registry:
        log.info("clean started", extra={"streams": list(config.cleaned), "http_port": health.port})
        step = Cleaner(config, registry)
        try:
            relay.run(settings_of(config), step, health, stop)
        finally:
            step.close()


def settings_of(config: Config) -> relay.Settings:
    """What the relay is to do for clean."""
    return relay.Settings(
        service="clean",
        kafka=config.kafka,
        group=config.clean.group,
        batch=config.clean.batch,
        targets={raw_topic(s): clean_topic(s) for s in config.cleaned},
        letters=config.dead_letters.topic,
        letter_bytes=deadletters.max_letter_bytes(config),
        shelve=partial(shelved, config),
    )


class Cleaner(Step[RawPartition]):
    """The step of clean."""

    def __init__(self, config: Config, registry: Registry) -> None:
        self._config, self._registry = config, registry
        self._schemas = Schemas(registry.schema_text, known_of)
        self._transforms = Transforms(config, lambda: open_store(config.store))
        hurried = config.store.model_copy(update={"timeout_seconds": min(STORE_SECONDS, config.store.timeout_seconds)})
        self._snapshots = Snapshots(lambda: open_store(hurried), config.clean.lookback)
        self._snapshots.warm()

    def close(self) -> None:
        """End its threads."""
        self._snapshots.close()

    def meet(self, wait: PollHold) -> None:
        """Wait for the registry, by asking for the contracts that calibrations are for, or for one of the others."""
        self._wait = wait
        streams = self._transforms.calibrated or [self._config.cleaned[0]]
        ask = self._registry.latest
        latest = wait.hold(
            "registry", "reaching the registry", lambda: {s: ask(f"{raw_topic(s)}-value") for s in streams}
        )
        self._transforms.check(latest)

    def coming(self, found: Mapping[Partition, Found]) -> None:
        """Read the snapshots of their look-backs."""
        self._snapshots.fetch(found)

    def leaving(self, partitions: Sequence[RawPartition]) -> None:
        """Write snapshots for their next owners."""
        self._snapshots.leave(partitions)

    def begin(self, source: Partition, token: Token, found: Found, kept: RawPartition | None) -> RawPartition:
        """The raw partition, with its look-back still to be read if none is at hand.

        If its transform or calibration is not the noted one, a note says from which offset on: `Transforms.noted`.
        """
        stream = stream_of(source[0])
        derived = bool(self._config.streams[stream].source)
        length, restored = self._config.clean.lookback, self._snapshots.take(source)
        it = RawPartition(source, token, found, kept, length, self._values, numbered=derived, restored=restored)
        note = self._transforms.noted(stream, it.note, it.next, lambda: self._dealt_with(it, found.high))
        it.pending = note if note != it.note else None
        return it

    def _dealt_with(self, it: RawPartition, end: int) -> int:
        """The highest raw offset that became a row or a dead letter, committed or not."""
        kafka, window = self._config.kafka, max(20_000, 2 * self._config.clean.batch)
        rows = beginning.emitted(kafka, (it.target, it.number), it.next, window)
        letters = beginning.refused(kafka, self._config.dead_letters.topic, it.source, it.next, stream_of(it.topic))
        return max(rows, min(letters, end - 1))  # anyone may write a letter: one of no record delays nothing for ever

    def decide(
        self, wait: PollHold, batch: Sequence[tuple[RawPartition, list[Message]]], limits: Mapping[str, int]
    ) -> list[Outcome]:
        """What becomes of each raw message: a row, a dead letter, or nothing if it repeats a reading."""
        batches = [raw_batch(it, messages) for it, messages in batch]
        judged = wait.hold("registry", "judging", lambda: verdicts(batches, self._schemas))
        if any(b.partition.note.versions for b in batches):
            plain, more = judged, partial(transformed, schemas=self._schemas, transforms=self._transforms)
            judged = wait.hold(
                "transform",
                "transforming",
                lambda: [more(b, j, alive=wait.alive) for b, j in zip(batches, plain, strict=True)],
            )
        outcomes = [decided(b, j, limits) for b, j in zip(batches, judged, strict=True)]
        return [
            Outcome(d.batch.partition, d.rows, d.letters, d.offset, d.note, partial(self._done, d)) for d in outcomes
        ]

    def skipped(self, it: RawPartition, count: int) -> None:
        """Count raw offsets that hold no record."""
        CLEAN_ROWS.labels(stream_of(it.topic), "skipped").inc(count)

    def report(self, it: RawPartition) -> None:
        """Say how far the look-back is."""
        if it.looking_back:
            about = {"partition": f"{it.topic}/{it.number}", "at": it.known, "until": it.next}
            log.info("reading the look-back", extra=about)

    def _values(self, messages: list[Message]) -> Values:
        """What the look-back keeps of messages that were dealt with before the partition was assigned."""
        return self._wait.hold("registry", "looking back", partial(looked_back, messages, self._schemas))

    def _done(self, d: Decided) -> None:
        d.batch.partition.lookback.add(d.seen)
        self._snapshots.offer(d.batch.partition)
        stream = stream_of(d.batch.partition.topic)
        for outcome, n in d.counts._asdict().items():
            if n:
                CLEAN_ROWS.labels(stream, outcome).inc(n)
        for reason, n in d.reasons.items():
            DEAD_LETTERS.labels("clean", stream, reason).inc(n)
