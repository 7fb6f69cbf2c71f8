"""Apicurio Registry with its data in an H2 file. It asks no password, so it never leaves loopback."""

from pathlib import Path

from headrace import provision
from headrace.errors import TransientError
from headrace.stack import http, ports
from headrace.stack.download import Part
from headrace.stack.plan import HOST, Plan, Spec


def spec(plan: Plan, java: Path, part: Part) -> Spec:
    """How to run it. Ready when it lists its subjects and has the contracts."""
    port = plan.ports["registry"]
    database = plan.state.data / "registry" / "registry"
    settings = {
        "apicurio.storage.kind": "sql",
        "apicurio.storage.sql.kind": "h2",
        # Without WRITE_DELAY=0 a contract registered just before a kill -9 is lost.
        "apicurio.datasource.url": f"jdbc:h2:file:{database};WRITE_DELAY=0",
        "quarkus.http.host": HOST,
        "quarkus.http.port": port,
        # By default it listens on 0.0.0.0:9000, open to the network.
        "quarkus.management.host": HOST,
        "quarkus.management.port": plan.ports["registry.management"],
        "java.io.tmpdir": plan.state.tmp,
        "vertx.cacheDirBase": plan.state.tmp,
    }
    flags = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xlog:disable"]

    def probe() -> None:
        if not ports.listening(port):
            raise TransientError(f"the registry does not listen on {port} yet")
        http.get(f"{plan.config.registry.url}/subjects")

    return Spec(
        name="registry",
        argv=lambda: [
            str(java), *flags, *(f"-D{k}={v}" for k, v in settings.items()),
            "-jar", str(part.folder / "quarkus-run.jar"),
        ],
        address=f"http://{HOST}:{port}",
        prepare=lambda: database.parent.mkdir(exist_ok=True),
        probe=probe,
        provide=lambda: provision.contracts(plan.config),
    )  # fmt: skip
