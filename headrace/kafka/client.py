"""Kafka, through confluent-kafka, which only this file imports: safe settings, and errors as ours."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar, cast

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec  # type: ignore[attr-defined]

from headrace.config.connect import Kafka
from headrace.errors import ConfigError, TransientError
from headrace.kafka.connect import connection
from headrace.kafka.errors import GroupRefusedError, translate, unanswered
from headrace.protocol.wire import Headers

__all__ = [
    "AdminClient",
    "Consumer",
    "IsolationLevel",
    "KafkaError",
    "KafkaException",
    "Message",
    "OffsetSpec",
    "Probe",
    "Producer",
    "TopicInfo",
    "TopicPartition",
    "TopicSpec",
    "admin",
    "commit",
    "commit_all",
    "committed",
    "consumer",
    "describe",
    "ensure_topics",
    "epoch_of",
    "forget_group",
    "headers_of",
    "meet_group",
    "probe",
    "producer",
    "sizes",
    "topic_id",
    "translate",
    "watermarks",
]

CALL_SECONDS = 10.0
CONNECT_SECONDS = 4.0
_DOWN_SECONDS = 1.5  # for further attempts of librdkafka, once all brokers were down: another address may answer
_FIRST_SECONDS, _MORE = 0.25, 3.0  # for the first answer; this many times as long for each further one
_T = TypeVar("_T")

# The guarantees depend on these: configuration must not change them.
_PRODUCER = {
    "acks": "all",
    "enable.idempotence": True,
    "message.timeout.ms": 0,  # delivery never times out: a reading that gave up would be lost or out of order
    "max.in.flight.requests.per.connection": 5,
}
_OURS = {"delivery.report.only.error", "group.id"}  # each service sets its own: the bridge needs every report
_CONSUMER = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "group.protocol": "classic",  # Event Hubs has no other
    "isolation.level": "read_committed",
}
_FETCHING = {
    # With a full queue librdkafka asks for no more until this is over: at its default, a second, a backlog waits most
    # of the time. Then few messages fetched ahead are enough.
    "fetch.queue.backoff.ms": 10,
    "queued.min.messages": 20_000,
}


BATCH_BYTES = 512 * 1024


class TopicSpec(NamedTuple):
    """A topic as Headrace wants it."""

    name: str
    partitions: int
    max_message_bytes: int
    retention_ms: int
    log_append_time: bool = True
    cleanup_policy: str = "delete"


class TopicInfo(NamedTuple):
    """A topic as Kafka has it. `id` changes when a topic is deleted and created again."""

    id: str
    partitions: int
    max_message_bytes: int


def producer(cfg: Kafka, **settings: Any) -> Producer:
    """An idempotent producer that waits for all in-sync replicas and never gives up.

    A keyword a_b is librdkafka's setting a.b; error_cb and its like keep their names. ConfigError for wrong settings.
    With SASL OAUTHBEARER: TransientError while there is no token, ConfigError when it is refused.
    """
    return _make(Producer, {"linger.ms": 40, "compression.type": "lz4"}, cfg, _dotted(settings), _PRODUCER)


def sizes(limits: Collection[int], batch: int = BATCH_BYTES) -> dict[str, int]:
    """A producer's settings for topics with these values of max.message.bytes; `batch` bytes at most in a batch.

    Kafka refuses a whole batch that is over its topic's limit, so batches stay well below the smallest limit.
    """
    return {"message.max.bytes": max(limits), "batch.size": min(batch, min(limits) // 2)}


def consumer(cfg: Kafka, group: str, **settings: Any) -> Consumer:
    """A consumer that commits only when told to, and raises an error when its offset is gone.

    Errors as for `producer`.
    """
    # It is a producer's; librdkafka refuses a reader where it is above what is fetched at once.
    given = {name: value for name, value in cfg.librdkafka.items() if name != "message.max.bytes"}
    cfg = cfg.model_copy(update={"librdkafka": given})
    return _make(Consumer, _FETCHING, cfg, {"group.id": group, **_dotted(settings)}, _CONSUMER)


def admin(cfg: Kafka) -> AdminClient:
    """An administration client."""
    return _make(AdminClient, {}, cfg, {}, {})


def probe(cfg: Kafka, timeout: float = CONNECT_SECONDS) -> int:
    """How many brokers answer. TransientError, with the reason, when none does; ConfigError when they refuse us."""
    return _connected(cfg, timeout)[1]


class Probe:
    """`probe`, asked again and again with one client as long as it is answered: a new one costs Kafka a login."""

    def __init__(self, cfg: Kafka) -> None:
        self._cfg = cfg
        self._client: AdminClient | None = None

    def ask(self) -> None:
        """Errors as for `probe`. Any thread may ask."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(KafkaException):
                client.list_topics("__consumer_offsets", timeout=CONNECT_SECONDS)
                self._client = client
                return
        self._client, _ = _connected(self._cfg, CONNECT_SECONDS)


def _connected(cfg: Kafka, timeout: float) -> tuple[AdminClient, int]:
    """A client that a broker has answered, and the number of brokers. Errors as for `probe`."""
    heard: list[KafkaError] = []  # librdkafka reports errors to a callback only, and calls it between two questions
    client = _make(AdminClient, {}, cfg, {"error_cb": heard.append}, {})
    end, patience = time.monotonic() + timeout, _FIRST_SECONDS
    while True:
        try:
            # An answer after its time is up does not count: wait longer each time.
            found = client.list_topics(timeout=max(0.01, min(patience, end - time.monotonic())))
        except KafkaException:
            client.poll(0)
            if any(e.name() == "_ALL_BROKERS_DOWN" for e in heard):
                end = min(end, time.monotonic() + _DOWN_SECONDS)
            if time.monotonic() >= end:
                raise unanswered(cfg, heard) from None
            patience *= _MORE
        else:
            return client, len(found.brokers)


def ensure_topics(cfg: Kafka, specs: Iterable[TopicSpec]) -> list[str]:
    """Create the topics that are missing, and return their names.

    ConfigError when one exists with another partition count.
    """
    wanted = {s.name: s for s in specs}
    have = describe(cfg, wanted)
    for name, info in have.items():
        if info.partitions != wanted[name].partitions:
            raise ConfigError(
                f"topic {name} has {info.partitions} partitions, the configuration says {wanted[name].partitions}. "
                "Readings of a device stay in order only while the count stays the same. Set back the configuration"
            )
    missing = [s for s in wanted.values() if s.name not in have]
    if not missing:
        return []
    client = admin(cfg)  # kept until the answers are here: without the client they are gone
    futures = client.create_topics([_new_topic(cfg, s) for s in missing], request_timeout=CALL_SECONDS)
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as e:
            if e.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise translate(e, f"creating topic {name}") from None
    return [s.name for s in missing]


def describe(cfg: Kafka, topics: Iterable[str]) -> dict[str, TopicInfo]:
    """The topics among `topics` that exist."""
    names = list(topics)
    if not names:
        return {}
    client, _ = _connected(cfg, CONNECT_SECONDS)
    out: dict[str, TopicInfo] = {}
    try:
        found = _described(client, names)
        resources = [ConfigResource(ConfigResource.Type.TOPIC, n) for n in found]
        limits = client.describe_configs(resources, request_timeout=CALL_SECONDS) if resources else {}
        for resource, future in limits.items():
            d = found[resource.name]
            limit = int(future.result()["max.message.bytes"].value)
            out[resource.name] = TopicInfo(str(d.topic_id), len(d.partitions), limit)
    except KafkaException as e:
        raise translate(e, f"describing {', '.join(names)}") from None
    return out


def topic_id(client: AdminClient, topic: str) -> str | None:
    """The topic's id, asked with a client that may be used again; None when there is no such topic."""
    try:
        found = _described(client, [topic]).get(topic)
    except KafkaException as e:
        raise translate(e, f"asking for the id of {topic}") from None
    return None if found is None else str(found.topic_id)


def _described(client: AdminClient, topics: list[str]) -> dict[str, Any]:
    """What Kafka says of those that exist. KafkaException as it is."""
    found = {}
    for name, future in client.describe_topics(TopicCollection(topics), request_timeout=CALL_SECONDS).items():
        try:
            found[name] = future.result()
        except KafkaException as e:
            if e.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    return found


def committed(client: Consumer, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[int | None, str]]:
    """The committed offset of each (topic, partition), None when there is none, and the metadata beside it."""
    try:
        found = client.committed([TopicPartition(t, p) for t, p in partitions], timeout=CALL_SECONDS)
    except KafkaException as e:
        raise translate(e, "reading committed offsets") from None
    out: dict[tuple[str, int], tuple[int | None, str]] = {}
    for tp in found:
        if tp.error is not None:
            raise translate(tp.error, f"reading the committed offset of {tp.topic}/{tp.partition}")
        out[tp.topic, tp.partition] = (tp.offset if tp.offset >= 0 else None, tp.metadata or "")
    return out


def epoch_of(m: Message) -> int:
    """The record's leader epoch; -1 when the broker gives none."""
    epoch = m.leader_epoch()
    return -1 if epoch is None else epoch


def headers_of(m: Message) -> Headers:
    """The headers as pairs. Those of other producers may have None for a value."""
    return cast("Headers", m.headers() or [])


def commit(client: Consumer, topic: str, partition: int, offset: int, metadata: str) -> None:
    """Commit one partition's offset with its metadata, and wait until the broker confirms it."""
    commit_all(client, {(topic, partition): (offset, metadata)})


def commit_all(client: Consumer, positions: Mapping[tuple[str, int], tuple[int, str]]) -> None:
    """Commit (offset, metadata) of each (topic, partition) in one request, and wait until the broker confirms it.

    If it raises, some of them may be committed and others not: make the same call again.
    """
    (topic, partition), (offset, _) = next(iter(positions.items()))
    others = f" and {len(positions) - 1} others" if len(positions) > 1 else ""
    try:
        done = client.commit(offsets=[TopicPartition(*p, *it) for p, it in positions.items()], asynchronous=False)
    except KafkaException as e:
        raise translate(e, f"committing {topic}/{partition} at {offset}{others}") from None
    for tp in done or ():
        if tp.error is not None:
            raise translate(tp.error, f"committing {tp.topic}/{tp.partition} at {tp.offset}")


def meet_group(cfg: Kafka, group: str) -> None:
    """GroupRefusedError when this user may not see the group: a commit in it would block without an error."""
    client = admin(cfg)
    try:
        client.describe_consumer_groups([group], request_timeout=CALL_SECONDS)[group].result()
    except KafkaException as e:
        found = translate(e, f"looking at the group {group}")
        if isinstance(found, GroupRefusedError):
            raise found from None  # for anything else, the next call has a better message


def forget_group(cfg: Kafka, group: str) -> None:
    """Delete a group without members, if Kafka permits it. Kafka deletes it by itself after some days."""
    client = admin(cfg)
    with suppress(KafkaException):
        client.delete_consumer_groups([group], request_timeout=CALL_SECONDS)[group].result()


def watermarks(client: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """(first offset, one past the last) of a partition, asked of the broker."""
    try:
        low, high = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=CALL_SECONDS)
    except KafkaException as e:
        raise translate(e, f"reading the offsets of {topic}/{partition}") from None
    return int(low), int(high)


def _new_topic(cfg: Kafka, spec: TopicSpec) -> NewTopic:
    return NewTopic(
        spec.name,
        num_partitions=spec.partitions,
        replication_factor=cfg.replication_factor,
        config={
            "max.message.bytes": str(spec.max_message_bytes),
            "retention.ms": str(spec.retention_ms),
            "message.timestamp.type": "LogAppendTime" if spec.log_append_time else "CreateTime",
            "cleanup.policy": spec.cleanup_policy,
            "min.insync.replicas": str(cfg.min_insync_replicas),
            "unclean.leader.election.enable": "false",
        },
    )


def _dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {k if k.endswith("_cb") else k.replace("_", "."): v for k, v in settings.items()}


def _make(
    build: Callable[[dict[str, Any]], _T], base: dict[str, Any], cfg: Kafka, own: dict[str, Any], fixed: dict[str, Any]
) -> _T:
    clash = sorted(set(cfg.librdkafka) & (set(fixed) | _OURS))
    if clash:
        raise ConfigError(f"kafka.librdkafka: {', '.join(clash)} can't be changed: readings could be lost. Remove it")
    settings = {**base, **connection(cfg), **own, **cfg.librdkafka, **fixed}
    try:
        return build(settings)
    except (KafkaException, ValueError, TypeError) as e:
        if isinstance(e, KafkaException) and e.args[0].name() == "SASL_AUTHENTICATION_FAILED":  # no token in 10 s
            raise TransientError(f"kafka.sasl.token: {e.args[0].str()}") from None
        why = e.args[0].str() if isinstance(e, KafkaException) else e
        raise ConfigError(
            f"kafka: librdkafka refuses the settings: {why}. Correct `kafka` in the configuration"
        ) from None
