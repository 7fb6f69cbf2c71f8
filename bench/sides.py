"""What is measured: a process that is started, told to be ready, and asked how many readings it has passed on.

Ours are here; peers are in bench/peers/, a file each.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.measure import Servers, servers
from bench.workloads import Workload
from headrace import kafka
from headrace.config import load
from headrace.errors import HeadraceError
from headrace.kafka import TopicSpec
from headrace.kafka.ends import ends_of
from headrace.operate import provision
from headrace.stack import ports, workers
from headrace.stack.state import State

PARTITIONS = 3
LETTERS = "bench-dead-letters"
SESSION_MS = 300_000  # a consumer may be held, while its backlog is written, for so long
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Side:
    """A process to measure. `done()`: how many readings it has passed on, ever."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool]
    done: Callable[[], int]
    env: dict[str, str] = field(default_factory=dict)
    after: Callable[[], None] = lambda: None  # once it has ended
    folder: Path = ROOT  # in which it runs
    alive: Callable[[], bool] = lambda: True  # false: it runs on, and does nothing any more


@dataclass
class Bench:
    """The stack that all share, a folder for what a run writes, and clients that ask how far it is."""

    state: Path
    folder: Path

    def __post_init__(self) -> None:
        self.servers: Servers = servers(self.state)
        self.admin = kafka.admin(self.servers.kafka)
        self._groups: dict[str, kafka.Consumer] = {}

    def topic(self, name: str) -> None:
        """Make a topic."""
        kafka.ensure_topics(self.servers.kafka, [TopicSpec(name, PARTITIONS, 4 << 20, 3_600_000)])

    def ends(self, *topics: str) -> int:
        """How many records these topics have got."""
        places = [(topic, n) for topic in topics for n in range(PARTITIONS)]
        return sum(end for _, end in ends_of(self.admin, places).values())

    def committed(self, group: str, topic: str) -> int:
        """How many records of the topic the group has done."""
        if group not in self._groups:
            self._groups[group] = kafka.consumer(self.servers.kafka, group)
        found = kafka.committed(self._groups[group], [(topic, n) for n in range(PARTITIONS)])
        return sum(offset or 0 for offset, _ in found.values())

    def joined(self, group: str) -> bool:
        """Whether the group's members have got their partitions."""
        try:
            it = self.admin.describe_consumer_groups([group])[group].result(10)
        except kafka.KafkaException:
            return False
        return sum(len(m.assignment.topic_partitions) for m in it.members if m.assignment) >= PARTITIONS

    @contextmanager
    def running(self, side: Side) -> Iterator["subprocess.Popen[bytes]"]:
        """The process of a side, ready, and ended with the block."""
        log = self.folder / f"{side.name}.log"
        with log.open("ab") as out:
            it = subprocess.Popen(
                side.argv,
                cwd=side.folder,
                env={**os.environ, **side.env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            until = time.monotonic() + 180
            while not side.ready():
                if it.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{side.name} did not start. Its output: {log.read_text()[-2000:]}")
                time.sleep(0.2)
            yield it
        finally:
            it.terminate()
            with suppress(subprocess.TimeoutExpired):
                it.wait(15)
            it.kill()
            it.wait()
            side.after()

    def own(self, work: Workload, token: str) -> Path:
        """A configuration for our services, with a stream for the workload and an MQTT session of its own."""
        data = yaml.safe_load((self.state / "headrace.yaml").read_text())
        secret = State(self.state).secret("metrics")
        route = {"filter": f"bench/{token}/{{device_id}}/{work.contract}", "unknown_fields": "ignore", **work.route}
        http = {n: {"host": "127.0.0.1", "port": ports.free(set()), "token": secret} for n in ("b", "c", "a")}
        data |= {
            "streams": {work.stream: {"contract": work.contract, "partitions": PARTITIONS, "routes": [route]}},
            "dead_letters": {"topic": LETTERS, "partitions": PARTITIONS},
            "bridge": {"client_id": f"headrace-bench-{token}", "keepalive_seconds": 300, "http": http["b"]},
            "clean": {"group": "bench-clean", "http": http["c"]},
            "archive": {"group": "bench-archive", "idle_seconds": 1, "http": http["a"]},
        }
        data["kafka"]["librdkafka"] = {"session.timeout.ms": SESSION_MS}
        for unused in ("hub", "ingest", "derive"):
            data.pop(unused, None)
        path = self.folder / f"{token}.yaml"
        path.write_text(yaml.safe_dump(data))
        path.chmod(0o600)
        cfg = load(path, {})
        provision.topics(cfg)
        provision.contracts(cfg)
        return path


def _service(name: str, path: Path, done: Callable[[], int]) -> Side:
    section: dict[str, Any] = yaml.safe_load(path.read_text())[name]["http"]

    def ready() -> bool:
        try:
            workers.ready(section["port"], section["token"])
        except HeadraceError:
            return False
        return True

    module = ["bridge"] if name == "bridge" else ["processors", name]
    return Side(name, [sys.executable, "-m", *module, "--config", str(path)], ready, done)


def bridge(bench: Bench, path: Path, work: Workload) -> Side:
    """MQTT to Kafka. What it refused counts too: it is in Kafka, as a dead letter."""
    raw = f"{work.stream}.raw"
    return _service("bridge", path, lambda: bench.ends(raw, LETTERS))


def clean(bench: Bench, path: Path, work: Workload) -> Side:
    """The raw topic to the clean one."""
    return _service("clean", path, lambda: bench.ends(f"{work.stream}.clean"))


def archive(bench: Bench, path: Path, work: Workload) -> Side:
    """The clean topic to Parquet in the object store."""
    return _service("archive", path, lambda: bench.committed("bench-archive", f"{work.stream}.clean"))
