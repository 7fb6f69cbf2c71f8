"""Apache Kafka: one process, broker and controller (KRaft), formatted once."""

import subprocess
from pathlib import Path

from headrace import kafka, provision
from headrace.errors import FatalError, TransientError
from headrace.stack import ports
from headrace.stack.download import Part
from headrace.stack.plan import HOST, Plan, Spec

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


def properties(plan: Plan) -> str:
    """server.properties."""
    broker, controller = plan.ports["kafka"], plan.ports["kafka.controller"]
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listeners": f"PLAINTEXT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{broker}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
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
        # A stack may lie switched off for longer than the week after which Kafka forgets commits, the archiver's too.
        "offsets.retention.minutes": 2_000_000_000,
        "group.initial.rebalance.delay.ms": 0,
        "log.cleaner.dedupe.buffer.size": 16 << 20,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 4,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def spec(plan: Plan, java: Path, part: Part) -> Spec:
    """How to run it. Ready when it tells its brokers and has the topics."""
    folder = plan.state.conf
    # C1 alone: ready with 1.5 s less of CPU time, and 1.0 us a message at 470,000 messages/s against C2's 1.3 (measured
    # over the first 1.2 million messages).
    flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xlog:disable"]
    common = [str(java), *flags, f"-Djava.io.tmpdir={plan.state.tmp}"]
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
        probe=lambda: _probe(plan),
        provide=lambda: _provide(plan),
        grace=25.0,
    )


def _run(argv: list[str], plan: Plan) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=plan.state.tmp, timeout=60)
    if done.returncode != 0:
        raise FatalError(f"Kafka's storage can't be formatted: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout.strip()


def _probe(plan: Plan) -> None:
    # A client that is refused backs off, so it is made only once the port answers.
    if not ports.listening(plan.ports["kafka"]):
        raise TransientError(f"Kafka does not listen on {plan.ports['kafka']} yet")
    kafka.probe(plan.config.kafka)


def _provide(plan: Plan) -> None:
    provision.topics(plan.config)
