"""Commits with metadata beside the offset. The guarantees rest on its coming back, and not every broker keeps it."""

import logging
import random
import time
from collections.abc import Sequence

from headrace import intent, kafka
from headrace.config.connect import Kafka
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.kafkaerrors import GroupRefusedError

log = logging.getLogger(__name__)

PROBE = "headrace-probe ".ljust(intent.MAX_BYTES, "x")  # as long as the longest note
_TRIES = 5
_REMEDY = (
    "Without the metadata of offsets nothing is certain after a crash. Use a broker that keeps it: Apache Kafka does, "
    "with offset.metadata.max.bytes at 512 or more"
)


def prove(cfg: Kafka, group: str, topics: Sequence[str]) -> None:
    """See that Kafka gives the metadata of an offset back, before anything depends on it.

    In a group of its own, `<group>-probe`, that is deleted then: what `group` has committed is not touched.
    Where this user may not use that group, the log says so, and the first commit of `group` is what proves it: see
    Commits. TransientError: Kafka is away, or has none of the topics yet. ConfigError: it refuses us, or does not give
    it back. FatalError: the client is of no use any more.
    """
    have = kafka.describe(cfg, topics)
    if not have:
        raise TransientError(f"Kafka has no topic {', '.join(topics)} yet; `headrace provision` creates them")
    own, topic = f"{group}-probe", min(have)
    try:
        kafka.meet_group(cfg, own)
        found = _round_trip(cfg, own, topic)
    except GroupRefusedError as e:
        remedy = f"to have the trial, let this user read and delete groups that begin with {group}"
        about = {"group": own, "error": str(e), "remedy": remedy}
        log.warning("no trial of offsets' metadata: the first commit is the proof", extra=about)
        return
    except ConfigError as e:
        raise ConfigError(
            f"{e}. This was a trial commit in the group {own}: let this user read {topic}. {_REMEDY}"
        ) from None
    kafka.forget_group(cfg, own)
    if found != PROBE:
        what = "nothing" if not found else f"{len(found)} other characters"
        raise ConfigError(
            f"Kafka at {cfg.bootstrap}: beside a committed offset {len(PROBE)} characters were left, and {what} came "
            f"back. {_REMEDY}"
        )


def _round_trip(cfg: Kafka, group: str, topic: str) -> str:
    client = kafka.consumer(cfg, group)
    try:
        for _ in range(_TRIES):
            kafka.commit(client, topic, 0, 0, PROBE)
            offset, found = kafka.committed(client, [(topic, 0)])[topic, 0]
            if offset is not None:
                return found
            time.sleep(random.random())  # noqa: S311 - another service of the group has just deleted its own trial
    finally:
        client.close()
    return ""


class Commits:
    """Commits for one consumer; the first one is read back."""

    def __init__(self, consumer: kafka.Consumer) -> None:
        self._consumer = consumer
        self._proven = False

    def commit(self, topic: str, partition: int, offset: int, metadata: str) -> None:
        """Commit one partition's offset. TransientError: the same call again.

        FatalError where the broker does not keep metadata.
        """
        kafka.commit(self._consumer, topic, partition, offset, metadata)
        if self._proven:
            return
        found = kafka.committed(self._consumer, [(topic, partition)])[topic, partition]
        if found != (offset, metadata):
            raise FatalError(
                f"{topic}/{partition}: committed was {offset} with {metadata!r}, and Kafka has {found[0]} with "
                f"{found[1]!r}. Without the metadata of offsets nothing is certain after a crash: this broker can't be "
                "used"
            )
        self._proven = True
