"""A stream of one's own on the session's servers, for one test: its topics, groups, dead letters and rows."""

import asyncio
import io
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import aiomqtt
import orjson
import pyarrow.parquet as pq
import yaml

from headrace import deadletters, kafka
from headrace.config import Config, load
from headrace.contracts.files import find
from headrace.deadletters import ReadLetter
from headrace.kafka.partition import read, reader
from headrace.lake import flow, layout, ledger, sql
from headrace.lake.ledger import Entry
from headrace.lake.rows import Source
from headrace.lake.verify import compare
from headrace.operate import provision
from headrace.protocol import archive_note
from headrace.protocol.names import lake_folder
from headrace.protocol.wire import ORIGIN, Headers, Position, Provenance, pack_position
from headrace.store.base import ObjectStore
from headrace.store.open import open_store
from processors.avro.codec import Codec
from tests import waiting
from tests.stack import ROOT, Stack

T = TypeVar("T")
SECONDS = 120.0  # for whatever is waited for: two services may be starting on a busy machine
SOON = {"idle_seconds": 0.4, "max_age_seconds": 2}
Make = Callable[..., "Own"]


class Service:
    """A service as a process of its own. `log` is all that it has written so far."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT, stderr=out)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def says(self, words: str) -> None:
        """Wait until it has written `words`."""
        until(lambda: words in self.log or self.process.poll() is not None, lambda: self.log)
        assert words in self.log, self.log

    def ends(self, code: int, words: str) -> None:
        """Wait for its end: with this exit code, and these words about why."""
        assert self.process.wait(SECONDS) == code, self.log
        assert words in self.log, self.log

    def stop(self) -> None:
        """As an orchestrator does; it must end well."""
        self.process.terminate()
        assert self.process.wait(SECONDS) == 0, self.log

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()


class Own:
    """A stream with a name that no other test has. `over`: sections of the configuration beside those made here."""

    def __init__(
        self,
        stack: Stack,
        folder: Path,
        *,
        partitions: int = 1,
        topics: dict[str, int] | None = None,
        settings: dict[str, Any] | None = None,
        **over: Any,
    ) -> None:
        """`topics`: the max.message.bytes of those (`.raw`, `.clean`) that are not to be as provisioned.

        `settings`: the stream's, where they are not to be those of `imu`.
        """
        self.stream = f"hole_{uuid.uuid4().hex[:8]}"
        self.raw, self.clean_topic = f"{self.stream}.raw", f"{self.stream}.clean"
        self._folder = folder
        route = f"{self.stream}/{{device_id}}/imu"
        librdkafka = {"session.timeout.ms": 6000, **over.pop("librdkafka", {})}
        self.path = stack.config_file(
            folder / f"{self.stream}.yaml",
            {
                "streams": {
                    self.stream: {"contract": "imu", "routes": [route], "partitions": partitions, **(settings or {})}
                },
                "dead_letters": {"topic": f"{self.stream}-letters", "partitions": 1},
                "bridge": {"client_id": f"headrace-{self.stream}", **over.pop("bridge", {})},
                "clean": {"group": f"{self.stream}-clean", **over.pop("clean", {})},
                "archive": {"group": f"{self.stream}-archive", **SOON, **over.pop("archive", {})},
                **over,
            },
        )
        self.change("kafka", librdkafka=librdkafka)
        sizes = {self.stream + ending: size for ending, size in (topics or {}).items()}
        specs = [
            s._replace(max_message_bytes=sizes[s.name]) for s in provision.topic_specs(self.config) if s.name in sizes
        ]
        kafka.ensure_topics(self.config.kafka, specs)
        provision.topics(self.config)
        self.schema_id = provision.contracts(self.config)[self.stream]
        self.server = self.config.store.endpoint

    # what is written

    @cached_property
    def codec(self) -> Codec:
        return Codec(find("imu").schema)

    def value(self, number: int, schema_id: int = 0, **fields: Any) -> bytes:
        """A framed reading that carries its number as `sequence`."""
        row: dict[str, Any] = {m.name: None for m in self.codec.node.members}
        row |= {"device_id": "d", "event_time": time.time_ns() // 1000, "sequence": number}
        row |= dict.fromkeys(("ax", "ay", "az", "gx", "gy", "gz"), 0.0) | fields
        return self.codec.write(schema_id or self.schema_id, row)

    def produce(
        self, topic: str, messages: Iterable[tuple[bytes | None, Headers]], *, key: bytes = b"d", partition: int = 0
    ) -> None:
        """Messages (value, headers), in their order."""
        producer = kafka.producer(self.config.kafka, message_max_bytes=5_000_000, batch_size=60_000)
        failed: list[object] = []
        for value, headers in messages:
            producer.produce(topic, value, key, partition, lambda e, _: failed.append(e), headers=list(headers))
            producer.poll(0)
        assert producer.flush(60) == 0
        assert not any(failed), failed

    def fill_raw(self, numbers: Iterable[int], partition: int = 0, **fields: Any) -> None:
        """Readings as the bridge writes them; those of one number are copies of one reading."""
        self.produce(self.raw, ((self.value(n, **fields), marks(n)) for n in numbers), partition=partition)

    def fill_clean(
        self, numbers: Sequence[int], *, partition: int = 0, epoch: int = 0, before: int = -1, **fields: Any
    ) -> None:
        """Readings as clean writes them: from the raw offsets `numbers`, after the one from raw offset `before`."""
        last = Position(epoch, before, 0) if before >= 0 else ORIGIN
        sources = [Position(epoch, n, 0) for n in numbers]
        self.produce(
            self.clean_topic,
            (
                (self.value(src.offset, **fields), position(src.offset, src, prev))
                for src, prev in zip(sources, [last, *sources], strict=False)
            ),
            partition=partition,
        )

    def publish(self, *payloads: bytes, retain: bool = False) -> None:
        """Payloads of the device `d`, each acknowledged by the broker before the next."""

        async def main() -> None:
            mqtt = self.config.mqtt
            password = mqtt.password.get_secret_value() if mqtt.password else None
            async with aiomqtt.Client(mqtt.host, mqtt.port, username=mqtt.username, password=password) as client:
                for it in payloads:
                    await client.publish(f"{self.stream}/d/imu", it, qos=1, retain=retain)

        asyncio.run(main())

    def delete_records(self, topic: str, before: int) -> None:
        """What retention does, at once."""
        client = kafka.admin(self.config.kafka)
        for future in client.delete_records([kafka.TopicPartition(topic, 0, before)]).values():
            future.result()

    # the services

    @contextmanager
    def service(self, *arguments: str) -> Iterator[Service]:
        log = self._folder / f"{arguments[-1]}-{uuid.uuid4().hex[:6]}.log"
        it = Service([*arguments, "--config", str(self.path)], log)
        try:
            yield it
        finally:
            it.kill()

    def bridge(self) -> AbstractContextManager[Service]:
        return self.service("bridge")

    def clean(self) -> AbstractContextManager[Service]:
        return self.service("processors", "clean")

    def archive(self) -> AbstractContextManager[Service]:
        return self.service("processors", "archive")

    def change(self, section: str, **settings: Any) -> None:
        """Another configuration for the services that are started from now on."""
        data = yaml.safe_load(self.path.read_text())
        data[section] = {**data.get(section, {}), **settings}
        self.path.write_text(yaml.safe_dump(data))
        self.config: Config = load(self.path, {})

    # what came of it

    @property
    def store(self) -> ObjectStore:
        return open_store(self.config.store)

    def when_stored(self) -> dict[str, Any]:
        """What `headrace verify` says, once nothing is under way."""
        with flow.watch(self.config) as watcher:
            until(lambda: not watcher.snapshot().pending(), lambda: watcher.snapshot().pending())
            with sql.connect(self.config, "") as lake:
                found = compare(self.config, watcher.snapshot(), self.store, Source(lake, self.config, self.store))
        report: dict[str, Any] = found.streams[self.stream].to_json()
        return report

    def whole(self, expected: Iterable[int]) -> dict[str, Any]:
        """The lake holds exactly the readings of these numbers, and verify finds nothing; returns what it says."""
        report = self.when_stored()
        assert self.numbers() == sorted(expected)
        assert (report["gaps"], report["duplicates"], report["open_intents"]) == (0, 0, 0), report["problems"]
        return report

    def rows(self) -> list[dict[str, Any]]:
        """Every row of every data file, whatever the ledger says."""
        out: list[dict[str, Any]] = []
        for key in self.data_keys():
            out += pq.read_table(io.BytesIO(self.store.get(key))).to_pylist()
        return out

    def numbers(self) -> list[int]:
        return sorted(row["sequence"] for row in self.rows())

    def data_keys(self) -> list[str]:
        return sorted(info.key for info in self.store.list(f"{lake_folder(self.clean_topic)}/"))

    def entries(self) -> list[Entry]:
        return list(ledger.read(self.store, layout.ledger_prefix(self.clean_topic)))

    def letters(self) -> list[ReadLetter]:
        return list(deadletters.read(self.config))

    def records(self, topic: str, partition: int = 0) -> list[kafka.Message]:
        """All records of a partition that a reader sees."""
        client = reader(self.config.kafka)
        try:
            return list(read(client, topic, partition))
        finally:
            client.close()

    def committed(self, group: str, topic: str, partition: int = 0) -> tuple[int | None, str]:
        client = kafka.consumer(self.config.kafka, group)
        try:
            return kafka.committed(client, [(topic, partition)])[topic, partition]
        finally:
            client.close()

    def archived(self, partition: int = 0) -> int:
        """Up to which offset the archive has stored."""
        return self.committed(self.config.archive.group, self.clean_topic, partition)[0] or 0

    def cleaned(self, partition: int = 0) -> int:
        """Up to which raw offset clean is done."""
        return self.committed(self.config.clean.group, self.raw, partition)[0] or 0

    def intent(self, partition: int = 0) -> archive_note.Intent | None:
        """The archive's open intent."""
        offset, text = self.committed(self.config.archive.group, self.clean_topic, partition)
        return archive_note.decode(text).intent if offset is not None else None


def marks(number: int) -> Headers:
    """The headers that the bridge gives a reading, as far as others look at them."""
    return [_came(number).header()]


def position(number: int, src: Position, prev: Position) -> Headers:
    """Those that clean gives it."""
    return [_came(number)._replace(position=pack_position(src, prev)).header()]


def _came(number: int) -> Provenance:
    return Provenance(number.to_bytes(16), 1_700_000_000_000_000)


def until(done: Callable[[], T], words: Callable[[], object] = lambda: "") -> T:
    """The first true answer; what writes its file has perhaps not begun."""
    return waiting.until(done, SECONDS, words, pause=0.2, not_yet=(FileNotFoundError,))


def payload(number: int, **fields: Any) -> bytes:
    """A reading as a device publishes it."""
    row = {"event_time": 1_700_000_000_000_000 + number, "sequence": number}
    return orjson.dumps(row | dict.fromkeys(("ax", "ay", "az", "gx", "gy", "gz"), 0) | fields)
