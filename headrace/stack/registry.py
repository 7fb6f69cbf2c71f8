"""Apicurio Registry with its data in an H2 file. It answers who has a password."""

import logging
from pathlib import Path

from headrace.errors import TransientError
from headrace.operate import provision
from headrace.runtime import http
from headrace.runtime.sockets import listening
from headrace.stack import java, registered
from headrace.stack.download import Part
from headrace.stack.plan import HOST, USER, Spec, StackPlan
from headrace.stack.properties import text

log = logging.getLogger(__name__)


def logins(password: str) -> dict[str, object]:
    """Settings by which every path of the registry asks for the services' password (HTTP basic).

    The services may register contracts. Nobody may delete one, export all, or change the rules for all.
    """
    return {
        "quarkus.http.auth.basic": "true",
        "quarkus.http.auth.permission.all.paths": "/*",
        "quarkus.http.auth.permission.all.policy": "authenticated",
        "quarkus.http.auth.permission.delete.paths": "/*",
        "quarkus.http.auth.permission.delete.methods": "DELETE",
        "quarkus.http.auth.permission.delete.policy": "deny",
        "quarkus.security.users.embedded.plain-text": "true",
        f"quarkus.security.users.embedded.users.{USER}": password,
        f"quarkus.security.users.embedded.roles.{USER}": "sr-developer",
        "apicurio.auth.role-based-authorization": "true",
    }


def spec(plan: StackPlan, path: Path, part: Part) -> Spec:
    """How to run it, by the Java at `path`. Ready when it lists its subjects and has the contracts."""
    port = plan.ports["registry"]
    database, secrets = plan.state.data / "registry" / "registry", plan.state.conf / "registry.properties"
    settings = {
        "apicurio.storage.kind": "sql",
        "apicurio.storage.sql.kind": "h2",
        # Without WRITE_DELAY=0 a contract registered just before a kill -9 is lost.
        "apicurio.datasource.url": f"jdbc:h2:file:{database};WRITE_DELAY=0",
        "quarkus.http.host": HOST,
        "quarkus.http.port": port,
        # Else it listens on 0.0.0.0:9000, with its metrics for everybody.
        "quarkus.management.host-enabled": "false",
        "quarkus.config.locations": secrets,
        "java.io.tmpdir": plan.state.tmp,
        "vertx.cacheDirBase": plan.state.tmp,
    }
    flags = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xlog:disable"]

    def prepare() -> None:
        database.parent.mkdir(exist_ok=True)
        plan.state.write(secrets, text(logins(plan.secrets["registry"])))

    def probe() -> None:
        if not listening(port):
            raise TransientError(f"the registry does not listen on {port} yet")
        login = http.basic(USER, plan.secrets["registry"])
        http.get(f"{plan.config.registry.url}/subjects", authorization=login)

    def provide() -> None:
        provision.contracts(plan.config, log.error)
        registered.note(plan.state, plan.config)

    return Spec(
        name="registry",
        argv=lambda: [
            str(path), *flags, *java.cached(path, part.folder), *(f"-D{k}={v}" for k, v in settings.items()),
            "-jar", str(part.folder / "quarkus-run.jar"),
        ],
        address=f"http://{HOST}:{port}",
        prepare=prepare,
        probe=probe,
        provide=provide,
    )  # fmt: skip
