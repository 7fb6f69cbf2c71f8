"""The topics that are copied from and to: there at all, with equal partition counts, and the same ones as before."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import FatalError, TransientError
from headrace.kafka import TopicInfo


class Pair(NamedTuple):
    """A topic that is read and the topic that its rows go to, as Kafka has them."""

    source: TopicInfo
    target: TopicInfo


def check(cfg: Kafka, targets: Mapping[str, str], others: Iterable[str], before: Mapping[str, Pair]) -> dict[str, Pair]:
    """The pair of each topic of `targets`, which names where the rows of each topic go. `others` must be there too.

    TransientError while a topic is missing or Kafka is away. FatalError if the topics of a pair differ in their
    partitions, or are not those of `before` any more: readings of a device would leave their order, or offsets mean
    something else.
    """
    wanted = [*targets, *targets.values(), *others]
    found = kafka.describe(cfg, wanted)
    missing = [t for t in wanted if t not in found]
    if missing:
        raise TransientError(f"Kafka has no topic {', '.join(missing)}. `headrace provision` creates what is missing")
    out = {source: Pair(found[source], found[target]) for source, target in targets.items()}
    for source, pair in out.items():
        _compare(source, targets[source], pair, before.get(source))
    return out


def _compare(source: str, target: str, pair: Pair, before: Pair | None) -> None:
    if pair.source.partitions != pair.target.partitions:
        raise FatalError(
            f"{source} has {pair.source.partitions} partitions, {target} has {pair.target.partitions}. "
            "Give both the same count: a row of partition p goes to partition p"
        )
    if before is None:
        return
    for topic, now, then in ((source, pair.source, before.source), (target, pair.target, before.target)):
        if now.id != then.id:
            raise FatalError(f"{topic} was deleted and created again while this service was running")
        if now.partitions != then.partitions:
            raise FatalError(
                f"{topic} has {now.partitions} partitions now, it had {then.partitions}: devices have moved to other "
                "partitions, and the order of their readings is lost across the change"
            )
