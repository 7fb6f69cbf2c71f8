"""What the archive asks Kafka beside reading: topics, their ids, logs and committed offsets."""

import math
import threading
import time

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import TransientError
from processors.archive.recovery import Offsets

_ASK_SECONDS = 10.0


class Lookup:
    """Asks with clients beside the one that reads, until `close`. Any thread may use it.

    Threads that ask for a topic's id at the same time share an answer.
    """

    def __init__(self, cfg: Kafka, group: str) -> None:
        self._cfg = cfg
        self.client = kafka.consumer(cfg, group)
        self.admin = kafka.admin(cfg)  # one for all questions: a connection for each takes ten times as long
        self._asking = threading.Lock()
        self._describing = threading.Lock()
        self._ids: dict[str, tuple[str, float]] = {}  # with the time of the question

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    def topics(self, seconds: float) -> set[str]:
        """The topics that exist; TransientError where Kafka is away, ConfigError where it refuses us."""
        try:
            return set(self.client.list_topics(timeout=seconds).topics)
        except kafka.KafkaException as e:
            kafka.probe(self._cfg)  # says why, where Kafka can't be reached
            raise kafka.translate(e, "asking for the topics") from None

    def topic_id(self, topic: str) -> str:
        """The topic's id at a moment after the call; TransientError where Kafka is away or has no such topic.

        So what was read before the call came from the topic with this id, or from one that it replaced.
        """
        called = time.monotonic()
        with self._describing:
            found, asked = self._ids.get(topic, ("", -math.inf))
            if asked < called:
                asked = time.monotonic()
                found = self._ask(topic)
                self._ids[topic] = (found, asked)
            return found

    def _ask(self, topic: str) -> str:
        try:
            found = kafka.topic_id(self.admin, topic)
        except TransientError:
            kafka.probe(self._cfg)  # says why, where Kafka can't be reached
            raise
        if found is None:
            raise TransientError(f"Kafka has no topic {topic}")
        return found

    def offsets(self, topic: str, partition: int) -> Offsets:
        """The partition's log and the group's committed offset; TransientError where Kafka is away."""
        with self._asking:
            low, high = kafka.watermarks(self.client, topic, partition)
            return Offsets(low, high, *kafka.committed(self.client, [(topic, partition)])[topic, partition])
