"""Live readings of a Kafka topic, read without a consumer group: to watch changes nothing for others."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from headrace import kafka
from headrace.config import Config
from headrace.errors import ConfigError, PoisonError, Reason, TransientError
from headrace.kafka.ends import ends_of
from headrace.protocol.wire import FRAME_BYTES, NOT_AVRO, schema_id

_POLL_SECONDS = 0.1
_GIVE_UP_SECONDS = 15.0
_CONSUMER = {
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 50,  # a request that waits at the end of a log holds up the next one, for older records
    "queued.min.messages": 2_000,  # read ahead little: what is not asked for is dropped
    "queued.max.messages.kbytes": 8 * 1024,
}


class Record(NamedTuple):
    """A Kafka record as it is shown. `reading` is None when the value can't be decoded; `problem` then says why."""

    partition: int
    offset: int
    time_ms: int
    reading: Mapping[str, Any] | None
    problem: str


@dataclass(frozen=True, slots=True)
class Part:
    """Where a partition's log begins and ends: `high` is one past the last record."""

    number: int
    low: int
    high: int


def resolve(cfg: Config, name: str) -> str:
    """The topic that `name` means: a stream's clean topic, or the topic itself, as in `imu.raw`."""
    from headrace.protocol.names import clean_topic, stream_of

    if name in cfg.streams:
        return clean_topic(name)
    if stream_of(name) in cfg.streams or name in cfg.archive.topics:
        return name
    raise ConfigError(f"no stream {name!r}; there are: {', '.join(cfg.streams) or 'none'} (each also as NAME.raw)")


class Reader:
    """The readings of one topic. A context manager; raises TransientError while Kafka is away."""

    def __init__(self, cfg: Config, topic: str) -> None:
        from headrace.schema_registry.client import Registry

        self._cfg = cfg
        self._topic = topic
        self._registry = Registry(cfg.registry)
        self._schemas: dict[int, Any] = {}

    def __enter__(self) -> Self:
        info = kafka.describe(self._cfg.kafka, [self._topic]).get(self._topic)
        if info is None:
            raise ConfigError(f"there is no topic {self._topic} in Kafka yet. `headrace provision` creates it")
        self._numbers = range(info.partitions)
        self._client = kafka.consumer(self._cfg.kafka, "headrace-tail", **_CONSUMER)
        self._admin = kafka.admin(self._cfg.kafka)  # so that `look` need not wait for a fetch
        self._began = self.look()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._registry.close()

    def backlog(self, count: int) -> list[Record]:
        """The latest `count` records that were there when the reader began, oldest first."""
        ends = {p.number: p.high for p in self._began}
        starts = {p.number: max(p.low, p.high - count) for p in self._began if p.high > p.low and count > 0}
        if not starts:
            return []
        self.seek(starts)
        out: list[Record] = []
        ended, heard = 0, time.monotonic()
        while ended < len(starts):
            messages = self.poll()
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard >= _GIVE_UP_SECONDS:
                raise TransientError(f"Kafka sent nothing of {self._topic} for {_GIVE_UP_SECONDS:.0f} s")
            for m in messages:
                if is_end(m):
                    ended += 1
                elif (m.offset() or 0) < ends[m.partition() or 0]:
                    out.append(self.record(m))
        out.sort(key=lambda r: r.time_ms)  # stable: a partition's records stay in order
        return out[-count:]

    def follow(self) -> Iterator[Record]:
        """Every record that comes after the reader began. It never ends by itself."""
        self.seek({p.number: p.high for p in self._began})
        while True:
            for m in self.poll():
                if not is_end(m):
                    yield self.record(m)

    def look(self) -> list[Part]:
        """Where each partition's log begins and ends now."""
        ends = ends_of(self._admin, [(self._topic, n) for n in self._numbers])
        return [Part(number, *log) for (_, number), log in ends.items()]

    def seek(self, starts: Mapping[int, int]) -> None:
        """Read on from these offsets, by partition. Drops what was read ahead."""
        self._client.assign([kafka.TopicPartition(self._topic, n, at) for n, at in starts.items()])

    def poll(self, seconds: float = _POLL_SECONDS) -> list[kafka.Message]:
        """The messages that have come after `seconds`, 1,000 at most, with marks at the ends of logs: see `is_end`."""
        messages = self._client.consume(1000, timeout=seconds)
        for m in messages:
            error = m.error()
            if error is not None and not is_end(m):
                raise kafka.translate(error, f"reading {self._topic}")
        return messages

    def record(self, m: kafka.Message) -> Record:
        """The decoded record of a message. TransientError or ConfigError when the registry does not give its schema."""
        try:
            reading, problem = decode(m.value(), self._registry.schema_text, self._schemas), ""
        except PoisonError as e:
            reading, problem = None, str(e)
        return Record(m.partition() or 0, m.offset() or 0, m.timestamp()[1], reading, problem)


def decode(value: bytes | None, text: Callable[[int], str], known: dict[int, Any]) -> dict[str, Any]:
    """The reading in a framed value; PoisonError where there is none.

    `text` gives the schema of a schema id; `known` keeps the parsed ones.
    """
    import io

    import fastavro
    import orjson

    number = schema_id(value)
    if number not in known:
        known[number] = fastavro.parse_schema(orjson.loads(text(number)))
    try:
        found = fastavro.schemaless_reader(io.BytesIO((value or b"")[FRAME_BYTES:]), known[number])
    except Exception:  # noqa: BLE001 - fastavro raises whatever the bytes lead it to
        raise PoisonError(Reason.MALFORMED, NOT_AVRO) from None
    if not isinstance(found, dict):
        raise PoisonError(Reason.MALFORMED, f"schema {number} is not a record")
    return found


def is_end(m: kafka.Message) -> bool:
    """Whether a message is not a record, but the mark that its partition has no further ones now."""
    error = m.error()
    return error is not None and error.name() == "_PARTITION_EOF"
