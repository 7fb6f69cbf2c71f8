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

    def committed(self, group: str, topics: Sequence[str]) -> int:
        """How many records of the topics the group has done."""
        if group not in self._groups:
            self._groups[group] = kafka.consumer(self.servers.kafka, group)
        found = kafka.committed(self._groups[group], [(topic, n) for topic in topics for n in range(PARTITIONS)])
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
            end(it)
            side.after()

    def own(self, work: Workload, token: str, streams: int = 1, session_ms: int = SESSION_MS, **archive: Any) -> Path:
        """A configuration for our services, with streams for the workload and an MQTT session of its own.

        `session_ms`: for how long Kafka waits for a process that was killed. `archive`: settings of the archive beside
        those that all runs have.
        """
        data = yaml.safe_load((self.state / "headrace.yaml").read_text())
        secret = State(self.state).secret("metrics")
        made: dict[str, Any] = {}
        for name in streams_of(work, streams):
            where = f"bench/{token}/{name}/{{device_id}}" if streams > 1 else f"bench/{token}/{{device_id}}"
            route = {"filter": f"{where}/{work.contract}", "unknown_fields": "ignore", **work.route}
            made[name] = {"contract": work.contract, "partitions": PARTITIONS, "routes": [route]}
        http = {n: {"host": "127.0.0.1", "port": ports.free(set()), "token": secret} for n in ("b", "c", "a")}
        data |= {
            "streams": made,
            "dead_letters": {"topic": LETTERS, "partitions": PARTITIONS},
            "bridge": {"client_id": f"headrace-bench-{token}", "keepalive_seconds": 300, "http": http["b"]},
            "clean": {"group": "bench-clean", "http": http["c"]},
            "archive": {"group": "bench-archive", "idle_seconds": 1, "http": http["a"], **archive},
        }
        data["kafka"]["librdkafka"] = {"session.timeout.ms": session_ms}
        for unused in ("hub", "ingest", "derive"):
            data.pop(unused, None)
        path = self.folder / f"{token}.yaml"
        path.write_text(yaml.safe_dump(data))
        path.chmod(0o600)
        cfg = load(path, {})
        provision.topics(cfg)
        provision.contracts(cfg)
        return path


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to end, and kill it where it does not."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    process.kill()
    process.wait()


def streams_of(work: Workload, count: int) -> list[str]:
    """The names of so many streams for a workload."""
    return [work.stream] if count == 1 else [f"{work.stream}_{n}" for n in range(count)]


def _service(name: str, path: Path, done: Callable[[], int], processes: int = 1) -> Side:
    configs = [path, *(_copy(path, name, n) for n in range(1, processes))]
    sections: list[dict[str, Any]] = [yaml.safe_load(it.read_text())[name]["http"] for it in configs]

    def ready() -> bool:
        try:
            for it in sections:
                workers.ready(it["port"], it["token"])
        except HeadraceError:
            return False
        return True

    module = ["bridge"] if name == "bridge" else ["processors", name]
    argv = [sys.executable, "-m", *module, "--config"]
    if processes > 1:
        return Side(name, [sys.executable, "-m", "bench.several", *map(str, configs), "--", *argv], ready, done)
    return Side(name, [*argv, str(path)], ready, done)


def _copy(path: Path, name: str, number: int) -> Path:
    """The configuration of a further process of a service: the same, on another port."""
    data = yaml.safe_load(path.read_text())
    data[name]["http"]["port"] = ports.free(set())
    copy = path.with_suffix(f".{name}{number}.yaml")
    copy.write_text(yaml.safe_dump(data))
    copy.chmod(0o600)
    return copy


def bridge(bench: Bench, path: Path, streams: Sequence[str]) -> Side:
    """MQTT to Kafka. What it refused counts too: it is in Kafka, as a dead letter."""
    return _service("bridge", path, lambda: bench.ends(*(f"{s}.raw" for s in streams), LETTERS))


def clean(bench: Bench, path: Path, streams: Sequence[str], processes: int = 1) -> Side:
    """The raw topics to the clean ones."""
    return _service("clean", path, lambda: bench.ends(*(f"{s}.clean" for s in streams)), processes)


def archive(bench: Bench, path: Path, streams: Sequence[str], processes: int = 1) -> Side:
    """The clean topics to Parquet in the object store."""
    topics = [f"{s}.clean" for s in streams]
    return _service("archive", path, lambda: bench.committed("bench-archive", topics), processes)
