"""What the services expect to find: topics, contracts in the registry, the bucket. Made where missing, else left alone.

Each function may be called again, and by several at once. `headrace provision` calls them all.
"""

from headrace import kafka
from headrace.config import Config
from headrace.contracts import files, lint
from headrace.kafka import TopicSpec
from headrace.names import clean_topic, raw_topic

HOUR = 3_600_000
# A cleaned reading carries a quality note and positions that the raw one had not; a dead letter carries headers of the
# original and the reason besides. A message that fits the first topic must fit the next one.
CLEAN_EXTRA, LETTER_EXTRA = 64 * 1024, 128 * 1024


def topic_specs(config: Config) -> list[TopicSpec]:
    """Every topic of the configuration, as it should be."""
    out = []
    for name, stream in config.streams.items():
        retention = stream.retention_hours * HOUR
        size = config.max_message_bytes
        out.append(TopicSpec(raw_topic(name), stream.partitions, size, retention))
        out.append(TopicSpec(clean_topic(name), stream.partitions, size + CLEAN_EXTRA, retention))
    letters = config.dead_letters
    out.append(
        TopicSpec(
            letters.topic,
            letters.partitions,
            config.max_message_bytes + LETTER_EXTRA,
            letters.retention_hours * HOUR,
            cleanup_policy="compact,delete",
        )
    )
    return out


def topics(config: Config) -> list[str]:
    """Create the missing topics; returns their names. ConfigError when one exists with other partitions."""
    return kafka.ensure_topics(config.kafka, topic_specs(config))


def contracts(config: Config) -> dict[str, int]:
    """Register each stream's contract for its two topics; returns the schema id of each stream.

    ConfigError when a contract is missing, faulty, or incompatible with what is registered.
    """
    from headrace.registry import Registry

    found = {name: lint.require(files.find(config.contract_of(name), config.contracts)) for name in config.streams}
    out = {}
    with Registry(config.registry) as registry:
        for name, contract in found.items():
            for topic in (raw_topic(name), clean_topic(name)):
                out[name] = registry.register(f"{topic}-value", contract)
    return out


def bucket(config: Config) -> None:
    """Make the bucket, or the folder, of the lake."""
    from headrace.store.open import open_store

    open_store(config.store).ensure_bucket()
