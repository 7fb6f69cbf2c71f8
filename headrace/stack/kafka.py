"""Apache Kafka: one process that is broker and controller (KRaft), formatted once. It answers who has a password."""

import subprocess
from functools import partial
from pathlib import Path

from headrace import kafka
from headrace.errors import FatalError, TransientError
from headrace.operate import provision
from headrace.runtime.sockets import listening
from headrace.stack import java
from headrace.stack.download import Part
from headrace.stack.plan import HOST, USER, Spec, StackPlan
from headrace.stack.properties import text

BROKER_USER = "broker"  # Kafka itself: towards its controller, and between brokers
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"

LOGGING = """Configuration:
  status: warn
  Appenders:
    Console:
      name: out
      PatternLayout: {pattern: "%d{yyyy-MM-dd'T'HH:mm:ss.SSS} %p %c{1} %m%n"}
  Loggers:
    Root:
      level: warn
      AppenderRef: [{ref: out}]
    Logger:
      - {name: kafka.server.KafkaRaftServer, level: info}
      - {name: kafka.server.BrokerServer, level: info}
"""


def logins(password: str, inner: str, listeners: tuple[str, ...] = ("CLIENT",)) -> dict[str, str]:
    """Settings by which each of `listeners`, and CONTROLLER, asks for a password (SASL PLAIN).

    The services' `password` opens the listeners, `inner` is Kafka's own and opens CONTROLLER as well. Passwords here
    and not in Kafka's storage: another one counts after a restart, also where the storage was formatted long ago.
    """
    own = {"username": BROKER_USER, "password": inner, f"user_{BROKER_USER}": inner}
    settings = {
        "listener.security.protocol.map": ",".join(f"{n}:SASL_PLAINTEXT" for n in (*listeners, "CONTROLLER")),
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
    }
    for name in (*listeners, "CONTROLLER"):
        users = own if name == "CONTROLLER" else {**own, f"user_{USER}": password}
        words = " ".join(f'{key}="{value}"' for key, value in users.items())
        settings[f"listener.name.{name.lower()}.plain.sasl.jaas.config"] = f"{_PLAIN} required {words};"
    return settings


def properties(plan: StackPlan) -> str:
    """The text of server.properties."""
    broker, controller = plan.ports["kafka"], plan.ports["kafka.controller"]
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": f"CLIENT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"CLIENT://{HOST}:{broker}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENT",
        **logins(plan.secrets["kafka"], plan.secrets["kafka_broker"]),
        "log.dirs": plan.state.data / "kafka",
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        # One broker: Kafka's own topics can have one copy only.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 2,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # A stack may be off for longer than the week after which Kafka deletes commits, those of the archive too.
        "offsets.retention.minutes": 2_000_000_000,
        "group.initial.rebalance.delay.ms": 0,
        "log.cleaner.dedupe.buffer.size": 16 << 20,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 4,
        "metadata.max.idle.interval.ms": 0,  # else the controller writes twice a second that nothing happens
    }
    return text(settings)


def spec(plan: StackPlan, path: Path, part: Part) -> Spec:
    """How to run it, by the Java at `path`. Ready when it lists its brokers and has the topics."""
    folder = plan.state.conf
    # C1 alone: ready with 1.5 s less of CPU time, and 1.0 us a message at 470,000 messages/s against C2's 1.3 (measured
    # over the first 1.2 million messages).
    flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xlog:disable"]
    common = [str(path), *flags, *java.cached(path, part.folder), f"-Djava.io.tmpdir={plan.state.tmp}"]
    tail = [f"-Dlog4j2.configurationFile={folder / 'kafka-log4j2.yaml'}", "-cp", f"{part.folder}/*"]

    def prepare() -> None:
        plan.state.write(folder / "kafka.properties", properties(plan))
        plan.state.write(folder / "kafka-log4j2.yaml", LOGGING)
        if not (plan.state.data / "kafka" / "meta.properties").is_file():
            tool = [*common, *tail, "kafka.tools.StorageTool"]
            cluster = _run([*tool, "random-uuid"], plan).splitlines()[-1]
            _run([*tool, "format", "-t", cluster, "-c", str(folder / "kafka.properties")], plan)

    return Spec(
        name="kafka",
        argv=lambda: [*common, "-Xms256m", "-Xmx512m", *tail, "kafka.Kafka", str(folder / "kafka.properties")],
        address=f"{HOST}:{plan.ports['kafka']}",
        prepare=prepare,
        probe=partial(_probe, plan, kafka.Probe(plan.config.kafka)),
        provide=lambda: _provide(plan),
        grace=25.0,
    )


def _run(argv: list[str], plan: StackPlan) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=plan.state.tmp, timeout=60)
    if done.returncode != 0:
        raise FatalError(f"Kafka's storage can't be formatted: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout.strip()


def _probe(plan: StackPlan, client: kafka.Probe) -> None:
    # A refused client waits before it tries again, so make it only once the port answers.
    if not listening(plan.ports["kafka"]):
        raise TransientError(f"Kafka does not listen on {plan.ports['kafka']} yet")
    client.ask()


def _provide(plan: StackPlan) -> None:
    provision.topics(plan.config)
