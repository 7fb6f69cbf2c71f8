"""The topics that clean works on: there at all, with equal partition counts, and the same ones as before."""

from collections.abc import Iterable
from typing import NamedTuple

from headrace import kafka
from headrace.config import Config
from headrace.errors import FatalError, TransientError
from headrace.kafka import TopicInfo
from headrace.names import clean_topic, raw_topic


class Pair(NamedTuple):
    """A stream's two topics as Kafka has them."""

    raw: TopicInfo
    clean: TopicInfo


def check(config: Config, streams: Iterable[str], before: dict[str, Pair]) -> dict[str, Pair]:
    """The topics of each stream. TransientError while one is missing or Kafka is away.

    FatalError where a stream's two topics differ in their partitions, or are not those of `before` any more: readings
    of a device would leave their order, or offsets mean something else.
    """
    names = list(streams)
    wanted = [t for s in names for t in (raw_topic(s), clean_topic(s))] + [config.dead_letters.topic]
    found = kafka.describe(config.kafka, wanted)
    missing = [t for t in wanted if t not in found]
    if missing:
        raise TransientError(f"Kafka has no topic {', '.join(missing)}. `headrace provision` creates what is missing")
    out = {s: Pair(found[raw_topic(s)], found[clean_topic(s)]) for s in names}
    for stream, pair in out.items():
        _compare(stream, pair, before.get(stream))
    return out


def _compare(stream: str, pair: Pair, before: Pair | None) -> None:
    raw, clean = raw_topic(stream), clean_topic(stream)
    if pair.raw.partitions != pair.clean.partitions:
        raise FatalError(
            f"{raw} has {pair.raw.partitions} partitions, {clean} has {pair.clean.partitions}. "
            "Give both the same count: a row of partition p goes to partition p"
        )
    if before is None:
        return
    for topic, now, then in ((raw, pair.raw, before.raw), (clean, pair.clean, before.clean)):
        if now.id != then.id:
            raise FatalError(f"{topic} was deleted and created again while clean was running")
        if now.partitions != then.partitions:
            raise FatalError(
                f"{topic} has {now.partitions} partitions now, it had {then.partitions}: devices have moved to other "
                "partitions, and the order of their readings is lost across the change"
            )
