"""Live readings of a Kafka topic, without a consumer group: watching changes nothing for anybody."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from headrace import kafka
from headrace.config import Config
from headrace.errors import ConfigError, PoisonError, Reason, TransientError
from headrace.wire import FRAME_BYTES, schema_id

_POLL_SECONDS = 0.5
_GIVE_UP_SECONDS = 15.0


class Record(NamedTuple):
    """A Kafka record as it is shown. `reading` is None where the value can't be decoded; `problem` says why."""

    partition: int
    offset: int
    time_ms: int
    reading: Mapping[str, Any] | None
    problem: str


@dataclass(frozen=True, slots=True)
class Part:
    """One partition, when the watching begins."""

    number: int
    low: int
    high: int


def resolve(cfg: Config, name: str) -> str:
    """The topic that `name` means: a stream's clean topic, or the topic itself, as in `imu.raw`."""
    from headrace.names import clean_topic, stream_of

    if name in cfg.streams:
        return clean_topic(name)
    if stream_of(name) in cfg.streams or name in cfg.archive.topics:
        return name
    raise ConfigError(f"no stream {name!r}; there are: {', '.join(cfg.streams) or 'none'} (each also as NAME.raw)")


class Reader:
    """The readings of one topic. A context manager."""

    def __init__(self, cfg: Config, topic: str) -> None:
        from headrace.registry import Registry

        self._cfg = cfg
        self._topic = topic
        self._registry = Registry(cfg.registry)
        self._schemas: dict[int, Any] = {}

    def __enter__(self) -> Self:
        kafka.probe(self._cfg.kafka)
        info = kafka.describe(self._cfg.kafka, [self._topic]).get(self._topic)
        if info is None:
            raise ConfigError(f"there is no topic {self._topic} in Kafka yet")
        self._client = kafka.consumer(self._cfg.kafka, "headrace-tail", enable_partition_eof=True)
        self._look(info.partitions)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._registry.close()

    def backlog(self, count: int) -> list[Record]:
        """The latest `count` records that were there when the reader began, oldest first."""
        starts = [
            kafka.TopicPartition(self._topic, p.number, max(p.low, p.high - count))
            for p in self._parts
            if p.high > p.low and count > 0
        ]
        if not starts:
            return []
        self._client.assign(starts)
        out: list[Record] = []
        ended, quiet = 0, 0.0
        while ended < len(starts):
            messages = self._client.consume(1000, timeout=_POLL_SECONDS)
            quiet = 0.0 if messages else quiet + _POLL_SECONDS
            if quiet >= _GIVE_UP_SECONDS:
                raise TransientError(f"Kafka sent nothing of {self._topic} for {_GIVE_UP_SECONDS:.0f} s")
            for m in messages:
                if _is_end(m):
                    ended += 1
                elif (m.offset() or 0) < self._parts[m.partition() or 0].high:
                    out.append(self._record(m))
        out.sort(key=lambda r: r.time_ms)  # stable: a partition's records stay in order
        return out[-count:]

    def latest(self, count: int) -> list[Record]:
        """The latest `count` records that are there now, oldest first."""
        self._look(len(self._parts))
        return self.backlog(count)

    def follow(self) -> Iterator[Record]:
        """Every record that comes after the reader began, for ever."""
        self._client.assign([kafka.TopicPartition(self._topic, p.number, p.high) for p in self._parts])
        while True:
            for m in self._client.consume(500, timeout=_POLL_SECONDS):
                if not _is_end(m):
                    yield self._record(m)

    def _look(self, partitions: int) -> None:
        self._parts = [Part(p, *kafka.watermarks(self._client, self._topic, p)) for p in range(partitions)]

    def _record(self, m: kafka.Message) -> Record:
        error = m.error()
        if error is not None:
            raise kafka.translate(error, f"reading {self._topic}")
        try:
            reading, problem = decode(m.value(), self._registry.schema_text, self._schemas), ""
        except PoisonError as e:
            reading, problem = None, str(e)
        return Record(m.partition() or 0, m.offset() or 0, m.timestamp()[1], reading, problem)


def decode(value: bytes | None, text: Callable[[int], str], known: dict[int, Any]) -> dict[str, Any]:
    """The reading that a framed value holds; PoisonError where it holds none.

    `text` gives a schema id's schema, `known` keeps those that were parsed.
    """
    import io

    import fastavro
    import orjson

    number = schema_id(value)
    if number not in known:
        known[number] = fastavro.parse_schema(orjson.loads(text(number)))
    try:
        found = fastavro.schemaless_reader(io.BytesIO((value or b"")[FRAME_BYTES:]), known[number])
    except Exception as e:  # noqa: BLE001 - fastavro raises whatever the bytes lead it to
        raise PoisonError(Reason.MALFORMED, f"not Avro of schema {number}: {e!r}") from None
    if not isinstance(found, dict):
        raise PoisonError(Reason.MALFORMED, f"schema {number} is not a record")
    return found


def _is_end(m: kafka.Message) -> bool:
    error = m.error()
    return error is not None and error.name() == "_PARTITION_EOF"
