"""A Kafka of three brokers, each its own process, and what becomes of a partition when its leader goes."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import HeadraceError
from headrace.stack import java, ports
from headrace.stack.download import parts
from headrace.stack.kafka import LOGGING, logins
from tests.faults.evidence import CLEAN, RAW
from tests.faults.fault import Fault
from tests.faults.world import World

HOST, NODES = "127.0.0.1", (1, 2, 3)


class Broker:
    """One of the three. Its folder holds properties, data and log."""

    def __init__(
        self, folder: Path, node: int, chosen: dict[int, tuple[int, int]], cluster: str, asks: dict[str, str]
    ) -> None:
        folder.mkdir(parents=True)
        self.folder, self.port = folder, chosen[node][0]
        (folder / "log4j2.yaml").write_text(LOGGING)
        voters = ",".join(f"{n}@{HOST}:{c}" for n, (_, c) in chosen.items())
        settings = {
            "process.roles": "broker,controller", "node.id": node, "controller.quorum.voters": voters,
            "listeners": f"CLIENT://{HOST}:{chosen[node][0]},CONTROLLER://{HOST}:{chosen[node][1]}", **asks,
            "controller.listener.names": "CONTROLLER", "inter.broker.listener.name": "CLIENT",
            "log.dirs": folder / "data", "auto.create.topics.enable": "false",
            "unclean.leader.election.enable": "false", "offsets.topic.replication.factor": 3,
            "offsets.topic.num.partitions": 4, "min.insync.replicas": 2, "group.initial.rebalance.delay.ms": 0,
            "log.cleaner.dedupe.buffer.size": 16 << 20,
        }  # fmt: skip
        (folder / "server.properties").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        self._java = [
            str(java.find()), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx400m", "-Xlog:disable",
            f"-Dlog4j2.configurationFile={folder / 'log4j2.yaml'}", "-cp", f"{parts()['kafka'].folder}/*",
        ]  # fmt: skip
        self._run("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(folder / "server.properties"))
        self._process: subprocess.Popen[bytes] | None = None

    def _run(self, *args: str) -> None:
        subprocess.run([*self._java, *args], check=True, capture_output=True, timeout=60)

    def start(self) -> None:
        """Start; it is not waited for."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self.folder / "server.properties")],
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def send(self, number: Signals) -> None:
        """Signal it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self, number: Signals = SIGKILL) -> None:
        """End it, and wait until it has."""
        self.send(number)
        if self._process is not None:
            self._process.wait(60)


class Cluster:
    """The running cluster; there is one at most in a process, which is where its faults find it."""

    running: "Cluster | None" = None

    def __init__(self, members: dict[int, Broker]) -> None:
        self.members = members

    def leader(self, cfg: Kafka, topic: str, partition: int) -> Broker:
        """The broker that leads a partition now."""
        found = kafka.admin(cfg).list_topics(topic, timeout=10).topics[topic].partitions[partition].leader
        return self.members[found]


@contextmanager
def brokers(folder: Path, login: Kafka) -> Iterator[str]:
    """Three brokers for as long as the block lasts, for who logs in as `login` does; their bootstrap servers."""
    assert login.sasl is not None
    assert login.sasl.password is not None
    asks = logins(login.sasl.password.get_secret_value(), os.urandom(16).hex())
    taken: set[int] = set()
    chosen = {n: (ports.free(taken), ports.free(taken)) for n in NODES}
    cluster = os.urandom(16).hex()[:22]
    members = {n: Broker(folder / str(n), n, chosen, cluster, asks) for n in NODES}
    bootstrap = ",".join(f"{HOST}:{b.port}" for b in members.values())
    try:
        for broker in members.values():
            broker.start()
        _wait_for(login.model_copy(update={"bootstrap": bootstrap}), len(NODES))
        Cluster.running = Cluster(members)
        yield bootstrap
    finally:
        Cluster.running = None
        for broker in members.values():
            broker.stop()


def _wait_for(cfg: Kafka, count: int) -> None:
    until = time.monotonic() + 120
    while True:
        with contextlib.suppress(HeadraceError):
            if kafka.probe(cfg) >= count:
                return
        assert time.monotonic() < until, "the three brokers did not start"
        time.sleep(0.5)


def leader_goes(how: Callable[[World, Broker], None]) -> Callable[[World], None]:
    """A random partition's leader goes, and comes back."""

    def strike(world: World) -> None:
        assert Cluster.running is not None
        topic, partition = world.dice.choice((RAW, CLEAN)), world.dice.randrange(3)
        how(world, Cluster.running.leader(world.config.kafka, topic, partition))
        _wait_for(world.config.kafka, len(NODES))
        world.wait_ready()

    return strike


def _killed(world: World, broker: Broker) -> None:
    broker.stop()
    world.sleep(10, 20)
    broker.start()


def _frozen(world: World, broker: Broker) -> None:
    broker.send(SIGSTOP)
    world.sleep(20, 30)
    broker.send(SIGCONT)


def _rolled(world: World, first: Broker) -> None:
    """Each of the three told to end and started again, as in an update."""
    assert Cluster.running is not None
    for broker in (first, *(b for b in Cluster.running.members.values() if b is not first)):
        broker.stop(SIGTERM)
        world.sleep(1)
        broker.start()
        _wait_for(world.config.kafka, len(NODES))
        world.sleep(5)


FAULTS = [
    Fault("leader-killed", 2, "three brokers: a partition's leader killed", leader_goes(_killed), setting="brokers"),
    Fault("leader-frozen", 2, "three brokers: a partition's leader stopped", leader_goes(_frozen), setting="brokers"),
    Fault("brokers-rolled", 2, "three brokers restarted in turn", leader_goes(_rolled), setting="brokers", seeds=3),
]
