"""Commits with a note in the offset's metadata. The guarantees need the note back, and not every broker keeps it."""

import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.kafka.errors import GroupRefusedError
from headrace.protocol.tail import MAX_NOTE_BYTES
from processors.group.token import Partition, Revoked, Token

log = logging.getLogger(__name__)

PROBE = "headrace-probe ".ljust(MAX_NOTE_BYTES, "x")  # as long as the longest note
_TRIES = 5
# Partitions in one request. Kafka writes it as one batch of __consumer_offsets, which takes 1 MB: 400 partitions with
# notes of 1,000 characters were taken, with 2,600 none of them.
_TOGETHER = 200
_REMEDY = (
    "Without the metadata of offsets nothing is certain after a crash. Use a broker that keeps it: Apache Kafka does, "
    "with offset.metadata.max.bytes at 512 or more"
)


def prove(cfg: Kafka, group: str, topics: Sequence[str]) -> None:
    """See that Kafka gives the metadata of an offset back, before anything depends on it.

    The trial uses a group of its own, `<group>-probe`, and deletes it afterwards: what `group` has committed is not
    touched. If this user may not use that group, the log says so, and the first commit of `group` is the proof: see
    Commits. TransientError: Kafka is away, or has none of the topics yet. ConfigError: Kafka refuses us, or does not
    give the metadata back. FatalError: the client can't be used any more.
    """
    have = kafka.describe(cfg, topics)
    if not have:
        raise TransientError(f"Kafka has no topic {', '.join(topics)} yet; `headrace provision` creates them")
    own, topic = f"{group}-probe", min(have)
    try:
        kafka.meet_group(cfg, own)
        found = _round_trip(cfg, own, topic)
    except GroupRefusedError as e:
        remedy = f"to allow the trial, let this user read and delete groups that begin with {group}"
        about = {"group": own, "error": str(e), "remedy": remedy}
        log.warning(
            "can't try out the metadata of offsets: the first commit will show whether Kafka keeps it", extra=about
        )
        return
    except ConfigError as e:
        raise ConfigError(
            f"{e}. This was a trial commit in the group {own}: let this user read {topic}. {_REMEDY}"
        ) from None
    kafka.forget_group(cfg, own)
    if found != PROBE:
        what = "nothing" if not found else f"{len(found)} other characters"
        raise ConfigError(
            f"Kafka at {cfg.bootstrap}: an offset was committed with {len(PROBE)} characters of metadata, and {what} "
            f"came back. {_REMEDY}"
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


class Wanted(NamedTuple):
    """What to commit of a partition."""

    token: Token
    partition: Partition
    offset: int
    metadata: str


class Commits:
    """Commits for one consumer, on the thread that made this object. The first commit is read back."""

    def __init__(self, consumer: kafka.Consumer) -> None:
        self._consumer = consumer
        self._thread = threading.get_ident()
        self._proven = False

    def commit(self, token: Token, partition: Partition, offset: int, metadata: str) -> None:
        """Commit the offset of one partition, with the note for its metadata.

        Revoked if the partition is no longer ours. TransientError: make the same call again. FatalError if the broker
        does not keep metadata.
        """
        if not self.commit_all([Wanted(token, partition, offset, metadata)]):
            raise Revoked

    def commit_all(self, wanted: Sequence[Wanted]) -> set[Partition]:
        """Commit partitions in as few requests as may be. Those that are no longer ours are left out.

        Returns those that were committed. Errors as for `commit`; some may be committed then, and others not.
        """
        assert threading.get_ident() == self._thread, "commits are made on the poll thread only"
        ours = {it.partition: (it.offset, it.metadata) for it in wanted if it.token.live}
        partitions = list(ours)
        for i in range(0, len(partitions), _TOGETHER):
            some = {p: ours[p] for p in partitions[i : i + _TOGETHER]}
            kafka.commit_all(self._consumer, some)
            self._prove(some)
        return set(ours)

    def _prove(self, made: Mapping[Partition, tuple[int, str]]) -> None:
        if self._proven:
            return
        for partition, found in kafka.committed(self._consumer, list(made)).items():
            if found != made[partition]:
                topic, number = partition
                offset, metadata = made[partition]
                raise FatalError(
                    f"{topic}/{number}: {offset} was committed with {metadata!r}, and Kafka has {found[0]} with "
                    f"{found[1]!r}. Without the metadata of offsets nothing is certain after a crash: this broker "
                    "can't be used"
                )
        self._proven = True
