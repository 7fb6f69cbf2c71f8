"""What the bridge needs before it reads a message: routes, the contracts' schema ids, topics. Waits for servers."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple, TypeVar

from bridge import routing
from bridge.decode import Decoder
from bridge.routing import Plan
from headrace import deadletters, kafka
from headrace.config import Config
from headrace.contracts import captures, files
from headrace.contracts.model import Contract
from headrace.errors import ConfigError, TransientError
from headrace.health import Health
from headrace.kafka import TopicInfo
from headrace.names import clean_topic, raw_topic
from headrace.registry import Registry
from headrace.tls import client_context, context

log = logging.getLogger(__name__)
T = TypeVar("T")

_FIRST_PAUSE, _LAST_PAUSE = 0.5, 15.0


class Work(NamedTuple):
    """What the configuration asks for, checked without any connection."""

    plan: Plan
    contracts: dict[str, Contract]  # by stream, of those with routes


class Servers(NamedTuple):
    """What was found on the servers. Sizes in bytes."""

    decoders: dict[str, Decoder]  # by Route.where
    raw_limits: dict[str, int]  # by stream: the largest record that its .raw topic takes
    partitions: dict[str, int]  # by topic


def check(config: Config) -> Work:
    """The routes and contracts of a configuration; ConfigError where they don't fit together."""
    plan = routing.plan(config)
    contracts: dict[str, Contract] = {}
    problems: list[str] = []
    for route in plan.routes:
        if route.stream not in contracts:
            contracts[route.stream] = files.find(config.contract_of(route.stream), config.contracts)
        found = captures.problems(contracts[route.stream], route.filter.captures)
        problems += [f"{route.where}: {problem}" for problem in found]
    if problems:
        raise ConfigError("\n".join(problems))
    client_context(config.mqtt.tls, "mqtt.tls")
    context(config.registry.tls, "registry.tls")
    return Work(plan, contracts)


async def find(config: Config, work: Work, health: Health) -> Servers:
    """Register the contracts, and wait until every topic is there with the partitions that it should have.

    `health` has checks for kafka and registry. ConfigError: an incompatible contract, a topic with another partition
    count, or one that takes too little.
    """
    topics = await until_there("kafka", health, lambda: asyncio.to_thread(_topics, config, work))
    ids = await until_there("registry", health, lambda: asyncio.to_thread(_schema_ids, config, work))
    decoders = {
        r.where: Decoder(work.contracts[r.stream], ids[r.stream], tuple(r.filter.captures)) for r in work.plan.routes
    }
    limits = {s: min(config.max_message_bytes, topics[raw_topic(s)].max_message_bytes) for s in work.contracts}
    return Servers(decoders, limits, {name: info.partitions for name, info in topics.items()})


async def until_there(check: str, health: Health, ask: Callable[[], Awaitable[T]]) -> T:
    """The answer of `ask`, asked again for as long as it raises TransientError; `check` is what /readyz calls it."""
    for pause in pauses():
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


def pauses() -> Iterator[float]:
    """Seconds to wait before each further attempt: doubling up to a quarter of a minute, each by half at random."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads reconnections, hides nothing
        pause = min(2 * pause, _LAST_PAUSE)


def _schema_ids(config: Config, work: Work) -> dict[str, int]:
    with Registry(config.registry) as registry:
        return {s: registry.register(f"{raw_topic(s)}-value", contract) for s, contract in work.contracts.items()}


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
            f"topic {letters.topic} takes {found[letters.topic].max_message_bytes:,} bytes a message, and must take "
            f"{needed:,}: what can't be a reading must fit. Set its max.message.bytes, or lower max_message_bytes"
        )
    return found
