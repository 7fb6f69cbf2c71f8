"""What Kafka and the lake say of a partition that has just been assigned."""

import logging
import math
import threading
import time
from typing import Protocol

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import TransientError
from headrace.intent import decode
from headrace.lake import layout, ledger
from headrace.lake.ledger import Entry
from headrace.store.base import ObjectStore
from processors.archive.plan import Place
from processors.archive.recovery import Facts

log = logging.getLogger(__name__)


class Incarnations:
    """Ids of topics. Any thread may use it: those that ask at the same time share an answer."""

    def __init__(self, cfg: Kafka) -> None:
        self._cfg = cfg
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, float]] = {}

    def of(self, topic: str) -> str:
        """The topic's id at a moment after the call; TransientError where Kafka is away or has no such topic.

        So what was read before the call came from the topic with this id, or from one that it replaced.
        """
        called = time.monotonic()
        with self._lock:
            found, asked = self._known.get(topic, ("", -math.inf))
            if asked < called:
                asked = time.monotonic()
                info = kafka.describe(self._cfg, [topic]).get(topic)
                if info is None:
                    raise TransientError(f"Kafka has no topic {topic}")
                found = info.id
                self._known[topic] = (found, asked)
            return found


class Where(Protocol):
    """Tells (first offset, one past the last, committed offset, its metadata) of a partition: see Positions."""

    def of(self, topic: str, partition: int) -> tuple[int, int, int | None, str]: ...  # noqa: D102


class Positions:
    """Asks Kafka about positions of the archive's group, with a client beside the one that reads. Any thread may."""

    def __init__(self, cfg: Kafka, group: str) -> None:
        self._cfg = cfg
        self._lock = threading.Lock()
        self.client = kafka.consumer(cfg, group)

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    def topics(self, seconds: float) -> set[str]:
        """The topics that exist; TransientError where Kafka is away, ConfigError where it lets us in no more."""
        try:
            return set(self.client.list_topics(timeout=seconds).topics)
        except kafka.KafkaException as e:
            kafka.probe(self._cfg)  # tells why, where Kafka can't be reached
            raise kafka.translate(e, "asking for the topics") from None

    def of(self, topic: str, partition: int) -> tuple[int, int, int | None, str]:
        """(first offset, one past the last, committed offset, its metadata); TransientError where Kafka is away."""
        with self._lock:
            low, high = kafka.watermarks(self.client, topic, partition)
            return low, high, *kafka.committed(self.client, [(topic, partition)])[topic, partition]


def facts(positions: Where, store: ObjectStore, place: Place) -> Facts:
    """All that `recovery.decide` needs; TransientError where Kafka or the store is away."""
    low, high, offset, metadata = positions.of(place.topic, place.partition)
    if offset is None:
        return Facts(None, None, low, high, None, in_lake=in_lake(store, place.topic, place.partition))
    return Facts(offset, decode(metadata), low, high, entry_at(store, place, offset), in_lake=True)


def entry_at(store: ObjectStore, place: Place, start: int) -> Entry | None:
    """The ledger entry of the batch that begins at `start`, if there is one."""
    key = layout.ledger_key(place.topic, place.topic_id, place.partition, start)
    return ledger.from_json(store.get(key), key) if store.exists(key) else None


def in_lake(store: ObjectStore, topic: str, partition: int) -> bool:
    """Whether the lake holds rows or ledger entries of the partition, of any incarnation of its topic."""
    for info in store.list(layout.ledger_prefix(topic)):
        entry = layout.parse_ledger_key(info.key)
        if entry is not None and entry.partition == partition:
            return True
    for info in store.list(f"{layout.folder(topic)}/"):
        data = layout.parse_data_key(info.key, topic)
        if data is not None and data.partition == partition:
            return True
    return False
