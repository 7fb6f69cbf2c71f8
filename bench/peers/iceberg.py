"""Apache Iceberg's sink for Kafka Connect: a JSON topic into an Iceberg table in the same object store.

It does more than the archive: a table with snapshots that many engines read, and a commit over all partitions at once.
It does less: no type from a contract (it takes them from the first rows), no provenance columns, no dead letters. It
reads JSON, where ours reads Avro. Its JVM compiles what it runs during the first seconds: that is in its figures, and
weighs less the longer it runs.
"""

from functools import partial
from pathlib import Path

from bench.peers import install
from bench.sides import SESSION_MS, Bench, Side
from headrace.config import load
from headrace.stack import java, ports

TOPIC, CONTROL, GROUP = "bench-iceberg", "bench-iceberg-control", "connect-bench-iceberg"
WORDS = __doc__.split("\n\n")[1].replace("\n", " ") if __doc__ else ""


def sink(bench: Bench) -> Side:
    """It, in a worker of its own."""
    bench.topic(TOPIC)
    bench.topic(CONTROL)
    store = load(bench.state / "headrace.yaml", {}).store
    assert store.access_key is not None
    assert store.secret_key is not None
    sasl = bench.servers.kafka.sasl
    assert sasl is not None
    assert sasl.password is not None
    module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    jaas = f'{module} username="{sasl.username}" password="{sasl.password.get_secret_value()}";'
    jars = install.iceberg()
    values = {
        "kafka": bench.servers.kafka.bootstrap, "jaas": jaas, "session_ms": SESSION_MS, "folder": bench.folder,
        "port": ports.free(set()), "topic": TOPIC, "control": CONTROL, "s3": store.endpoint,
        "bucket": store.bucket, "access_key": store.access_key.get_secret_value(),
        "secret_key": store.secret_key.get_secret_value(),
    }  # fmt: skip
    text = Path(__file__).with_name("iceberg.properties").read_text()
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    files = []
    for name, part in zip(("worker", "sink"), text.split("-----\n"), strict=True):
        files.append(bench.folder / f"iceberg-{name}.properties")
        files[-1].write_text(part)
        files[-1].chmod(0o600)
    argv = [str(java.find()), "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{jars}/*"]
    argv += ["org.apache.kafka.connect.cli.ConnectStandalone", *map(str, files)]
    log = bench.folder / "iceberg.log"
    before = log.stat().st_size if log.is_file() else 0
    return Side(
        "iceberg", argv, partial(bench.joined, GROUP), partial(bench.committed, GROUP, [TOPIC]),
        alive=lambda: b"Task is being killed" not in log.read_bytes()[before:],
    )  # fmt: skip
