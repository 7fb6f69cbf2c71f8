"""One derived stream: from the source's `.clean` to its own `.raw`, as group/relay.py runs it. At each step derive:

1. Drops readings that came before, by their positions. Has the function make rows of the others, each by the version
   noted for its offset. A reading that it fails on becomes a dead letter, as a whole.
2. Produces the rows in the order of their readings, each with the reading's position and its own index in it as `src`.
   Clean drops by these what comes twice.
3. Waits until Kafka has them all, and commits, as the relay does for every processor.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from headrace import deadletters
from headrace.config import Config
from headrace.contracts.model import Field
from headrace.errors import ConfigError, PoisonError, TransientError
from headrace.kafka import Message
from headrace.protocol.names import clean_topic, raw_topic
from headrace.runtime.metrics import DEAD_LETTERS, DERIVE_READINGS, DERIVE_ROWS
from headrace.schema_registry.client import Registry
from headrace.store.open import open_store
from headrace.transforms import derive
from headrace.transforms.derive import Derived
from processors.clean.schemas import known_of
from processors.derive.batch import Made, made
from processors.derive.ids import derived_id
from processors.derive.versions import Making, Versions
from processors.group import beginning, relay
from processors.group.firstrows import FirstRows
from processors.group.hold import PollHold
from processors.group.partition import Found, SourcePartition
from processors.group.refusal import shelved
from processors.group.relay import Outcome, Step
from processors.group.schemas import Schemas
from processors.group.token import Partition, Token


def settings_of(config: Config, stream: str) -> relay.Settings:
    """What the relay is to do for a derived stream."""
    return relay.Settings(
        service="derive",
        kafka=config.kafka,
        group=config.group_of(stream),
        batch=config.derive.batch,
        targets={clean_topic(config.streams[stream].source): raw_topic(stream)},
        letters=config.dead_letters.topic,
        letter_bytes=deadletters.max_letter_bytes(config),
        shelve=partial(shelved, config),
        id_of=lambda m, item: derived_id(m, stream, item),
        by_target=True,
    )


class Deriver(Step[SourcePartition]):
    """The step of derive."""

    def __init__(self, config: Config, stream: str, registry: Registry) -> None:
        """ConfigError if the stream's function can't be loaded."""
        self._config, self._stream, self._registry = config, stream, registry
        self._schemas = Schemas(registry.schema_text, known_of)
        self._versions = Versions(config, stream, lambda: open_store(config.store))
        self._first = FirstRows()

    def meet(self, wait: PollHold) -> None:
        """Wait until the registry has the derived stream's contract."""
        self._schema_id = wait.hold("registry", "looking for the contract", self._latest)

    def _latest(self) -> int:
        subject = f"{raw_topic(self._stream)}-value"
        found = self._registry.latest_id(subject)
        if found is None:
            raise TransientError(f"the registry has no {subject}. `headrace provision` registers the contract")
        self._look_at_contract(found)
        return found

    def _look_at_contract(self, schema_id: int) -> None:
        """ConfigError if rows can't be written with this schema: no reading is at fault."""
        try:
            self._schemas.get(schema_id)
        except PoisonError as e:
            raise ConfigError(
                f"streams.{self._stream}: its rows are written with schema {schema_id} of the registry, and {e}. "
                "Restore the registry, or register the contract under that id again"
            ) from None

    def begin(self, source: Partition, token: Token, found: Found, _kept: SourcePartition | None) -> SourcePartition:
        """A partition of the source; a new function or contract counts from a noted offset on."""
        it = SourcePartition(source, token, found)
        note = self._versions.noted(it.note, it.next, self._schema_id, lambda: self._dealt_with(it, found.high))
        for version in note.versions:
            self._look_at_contract(self._versions.of(version.digest).schema_id)
        it.pending = note if note != it.note else None
        return it

    def _dealt_with(self, it: SourcePartition, end: int) -> int:
        """The highest offset that became rows or a dead letter, committed or not."""
        kafka, window = self._config.kafka, max(20_000, 2 * self._config.derive.batch)
        rows = beginning.emitted(kafka, (it.target, it.number), it.next, window)
        letters = beginning.refused(kafka, self._config.dead_letters.topic, it.source, it.next, self._stream)
        return max(rows, min(letters, end - 1))

    def decide(
        self, wait: PollHold, batch: Sequence[tuple[SourcePartition, list[Message]]], limits: Mapping[str, int]
    ) -> list[Outcome]:
        """The rows and dead letters of a batch."""
        run = partial(self._run, wait)
        return [self._outcome(it, self._made(wait, it, new, run, limits)) for it, new in batch]

    def _made(
        self, wait: PollHold, it: SourcePartition, new: list[Message], run: partial[Derived], limits: Mapping[str, int]
    ) -> Made:
        call = partial(made, it, new, self._stream, self._schemas, self._versions, run, limits[it.target])
        return wait.hold("transform", "making rows", call)

    def _outcome(self, it: SourcePartition, decided: Made) -> Outcome:
        return Outcome(it, decided.rows, decided.letters, decided.offset, decided.note, partial(self._done, decided))

    def skipped(self, it: SourcePartition, count: int) -> None:  # noqa: ARG002 - whose they are does not matter
        """Count offsets that hold no record."""
        DERIVE_READINGS.labels(self._stream, "skipped").inc(count)

    def _run(
        self,
        wait: PollHold,
        making: Making,
        schema_id: int,
        given: Sequence[Field],
        wanted: Sequence[Field],
        columns: dict[str, list[object]],
    ) -> Derived:
        """What a function makes of readings. ConfigError if it is seen not to be row-wise."""
        first = self._first.of(making.transform.code.digest, schema_id, columns)
        if first is not None:
            derive.check(making.transform, given, wanted, first, wait.alive)
            self._first.checked(making.transform.code.digest, schema_id, first)
        return derive.derive(making.transform, given, wanted, columns, wait.alive)

    def _done(self, it: Made) -> None:
        for outcome, n in it.counts._asdict().items():
            if n and outcome != "changed":
                DERIVE_READINGS.labels(self._stream, outcome).inc(n)
        if it.rows:
            DERIVE_ROWS.labels(self._stream).inc(len(it.rows))
        for reason, n in it.reasons.items():
            DEAD_LETTERS.labels("derive", self._stream, reason).inc(n)
