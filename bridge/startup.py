"""What the bridge needs before it reads a message: routes, schema ids, topics. Waits until the servers are there."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from bridge import registering, routing
from bridge.decoders.choice import Choice
from bridge.routing import Routing
from headrace import deadletters, kafka
from headrace.config import Config
from headrace.contracts import files
from headrace.contracts.model import Contract
from headrace.errors import ConfigError, RefusedContractError, TransientError
from headrace.identity.tls import client_context, context
from headrace.kafka import TopicInfo
from headrace.protocol.names import clean_topic, raw_topic
from headrace.runtime.backoff import START_SECONDS, pauses
from headrace.runtime.health import Health
from headrace.schema_registry.client import Registry

log = logging.getLogger(__name__)
T = TypeVar("T")


class Work(NamedTuple):
    """What the configuration asks for, read without any connection."""

    routing: Routing
    contracts: dict[str, Contract]  # by stream, of those with routes


class Servers(NamedTuple):
    """What was found on the servers. Sizes in bytes."""

    decoders: dict[str, Choice]  # by Route.where
    raw_limits: dict[str, int]  # by stream: the largest record that its .raw topic takes
    partitions: dict[str, int]  # by topic


def prepare(config: Config) -> Work:
    """The routes and contracts of a configuration in which headrace.config.check finds no problem.

    ConfigError for a certificate that can't be read.
    """
    found = routing.build(config)
    streams = dict.fromkeys(route.stream for route in found.routes)
    contracts = {stream: files.find(config.contract_of(stream), config.contracts) for stream in streams}
    client_context(config.mqtt.tls, "mqtt.tls")
    context(config.registry.tls, "registry.tls")
    return Work(found, contracts)


async def find(config: Config, work: Work, health: Health) -> Servers:
    """Register the contracts, and wait until every topic is there with the configured number of partitions.

    A stream whose contract may not follow the registered one is refused: what comes for it becomes dead letters, and
    log, metrics and `health` say why. `health` has checks for kafka and registry. ConfigError: a topic has another
    number of partitions or takes messages that are too small.
    """
    topics, (ids, errors) = await asyncio.gather(
        until_there("kafka", health, lambda: asyncio.to_thread(_topics, config, work)),
        until_there("registry", health, lambda: asyncio.to_thread(_schema_ids, config, work)),
    )
    registering.tell(work.contracts, errors, health)
    decoders = registering.decoders(work.routing, work.contracts, ids, errors)
    limits = {s: min(config.max_message_bytes, topics[raw_topic(s)].max_message_bytes) for s in work.contracts}
    return Servers(decoders, limits, {name: info.partitions for name, info in topics.items()})


async def until_there(check: str, health: Health, ask: Callable[[], Awaitable[T]]) -> T:
    """Call `ask` until it does not raise TransientError; returns its answer. `check`: the server's name in /readyz."""
    for pause in pauses(START_SECONDS):
        try:
            answer = await ask()
        except TransientError as e:
            health.ready(check, ok=False, why=str(e))
            log.warning("waiting", extra={"for": check, "error": str(e), "again_in_seconds": round(pause, 1)})
            await asyncio.sleep(pause)
        else:
            health.ready(check, ok=True)
            return answer
    raise AssertionError("the pauses never end")


def _schema_ids(config: Config, work: Work) -> tuple[dict[str, int], dict[str, RefusedContractError]]:
    with Registry(config.registry) as registry:
        return registering.register(
            work.contracts, lambda s, contract: registry.register(f"{raw_topic(s)}-value", contract)
        )


def _topics(config: Config, work: Work) -> dict[str, TopicInfo]:
    letters = config.dead_letters
    wanted = {t: config.streams[s].partitions for s in work.contracts for t in (raw_topic(s), clean_topic(s))}
    found = kafka.describe(config.kafka, [*wanted, letters.topic])
    missing = [t for t in (*wanted, letters.topic) if t not in found]
    if missing:
        raise TransientError(f"Kafka has no topic {', '.join(missing)} yet; `headrace provision` creates them")
    for topic, partitions in wanted.items():
        if found[topic].partitions != partitions:
            raise ConfigError(
                f"topic {topic} has {found[topic].partitions} partitions, the configuration says {partitions}. "
                "The partitions of .raw and .clean topics belong together: set the number that is there"
            )
    needed = deadletters.max_letter_bytes(config)
    if found[letters.topic].max_message_bytes < needed:
        raise ConfigError(
            f"topic {letters.topic} takes messages of up to {found[letters.topic].max_message_bytes:,} bytes, and a "
            f"dead letter may have {needed:,}. Raise the topic's max.message.bytes, or lower max_message_bytes"
        )
    return found
