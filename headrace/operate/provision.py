"""Make what the services expect to find: topics, contracts in the registry, the bucket. What is there stays as it is.

Each function may be called again, and by several processes at once.
"""

import time
from collections.abc import Callable, Iterable
from enum import StrEnum

from headrace import deadletters, kafka
from headrace.config import Config
from headrace.contracts import files, lint
from headrace.errors import RefusedContractError, TransientError
from headrace.kafka import TopicSpec
from headrace.protocol.names import clean_topic, raw_topic, stream_of
from headrace.protocol.sizes import clean_bytes

HOUR = 3_600_000  # milliseconds
_PAUSE_SECONDS = 2.0
REMEDY = (
    "  What comes for {stream} is kept as dead letters. Correct the contract and start again, or make a new stream of "
    "it with\n  `headrace contracts upgrade {stream}`; then `headrace dlq redrive --reason contract_refused`"
)


class Part(StrEnum):
    """What can be made by itself."""

    TOPICS = "topics"
    CONTRACTS = "contracts"
    BUCKET = "bucket"


def provide(config: Config, parts: Iterable[Part], wait: float, notify: Callable[[str], None]) -> None:
    """Make what is missing of `parts`, and `notify` of each in a line.

    Waits up to `wait` seconds, all parts together, for servers that are away. TransientError when one is still away
    then; ConfigError at once for what waiting does not mend.
    """
    end = time.monotonic() + wait
    for part in parts:
        _make_by(config, part, end, notify)


def _make_by(config: Config, part: Part, end: float, notify: Callable[[str], None]) -> None:
    """Make `part`; while its server is away, try again until `end` (monotonic seconds)."""
    notified = False
    while True:
        try:
            notify(f"{part}: {_make(config, part, notify)}")
        except TransientError as e:
            if time.monotonic() + _PAUSE_SECONDS > end:
                raise
            if not notified:
                notify(f"{part}: {e}; waiting")
                notified = True
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _make(config: Config, part: Part, notify: Callable[[str], None]) -> str:
    """Make `part`; returns what was done, in words. `notify` is told of each contract that is refused."""
    if part is Part.TOPICS:
        made = topics(config)
        return ", ".join(made) + " created" if made else "all there"
    if part is Part.CONTRACTS:
        ids = contracts(config, notify)
        return ", ".join(f"{stream} has schema id {n}" for stream, n in ids.items()) or "none registered"
    bucket(config)
    return config.store.bucket


def topic_specs(config: Config) -> list[TopicSpec]:
    """Every topic of the configuration, as it should be."""
    out = []
    for name, stream in config.streams.items():
        retention = stream.retention_hours * HOUR
        size = config.max_message_bytes
        out.append(TopicSpec(raw_topic(name), stream.partitions, size, retention))
        out.append(TopicSpec(clean_topic(name), stream.partitions, clean_bytes(size), retention))
        if stream_of(config.copying.source) == name:
            out.append(TopicSpec(config.copying.target, stream.partitions, clean_bytes(size), retention))
    letters = config.dead_letters
    out.append(
        TopicSpec(
            letters.topic,
            letters.partitions,
            deadletters.max_letter_bytes(config),
            letters.retention_hours * HOUR,
            cleanup_policy="compact,delete",
        )
    )
    return out


def topics(config: Config) -> list[str]:
    """Create the missing topics; returns their names. ConfigError when one exists with other partitions."""
    return kafka.ensure_topics(config.kafka, topic_specs(config))


def contracts(config: Config, notify: Callable[[str], None] | None = None) -> dict[str, int]:
    """Register each stream's contract for its two topics; returns the schema id of each stream.

    ConfigError when a contract is missing or faulty. One that may not follow the registered one keeps no other from
    being registered: `notify` is told why, in words, and the stream has no id; without `notify`, RefusedContractError.
    """
    from headrace.schema_registry.client import Registry

    found = {name: lint.require(files.find(config.contract_of(name), config.contracts)) for name in config.streams}
    out = {}
    with Registry(config.registry) as registry:
        for name, contract in found.items():
            try:
                raw, _ = [registry.register(f"{t}-value", contract) for t in (raw_topic(name), clean_topic(name))]
            except RefusedContractError as e:
                if notify is None:
                    raise
                notify(f"stream {name} is refused, the others go on: {e}\n{REMEDY.format(stream=name)}")
            else:
                out[name] = raw
    return out


def bucket(config: Config) -> None:
    """Make the bucket, or the folder, of the lake."""
    from headrace.store.open import open_store

    open_store(config.store).ensure_bucket()
