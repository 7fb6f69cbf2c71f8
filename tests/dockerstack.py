"""The session's stack with STACK=docker: the servers of docker-compose.yml in containers, run by testcontainers.

The services stay processes of this machine, supervised as `headrace up` does, so that the tests run the code at hand.
"""

import argparse
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml
from testcontainers.compose import DockerCompose

from headrace.runtime import logs
from headrace.stack import plan, run, workers
from headrace.stack.plan import StackPlan
from headrace.stack.state import State
from tests import ownports
from tests.compose import standins
from tests.compose.engine import Docker, engine
from tests.compose.project import SERVERS
from tests.stack import ROOT, Stack


@dataclass(frozen=True)
class DockerStack(Stack):
    """A running stack whose servers are containers."""

    docker: Docker
    servers: DockerCompose
    supervisors: list[subprocess.Popen[bytes]] = field(default_factory=list)
    native = False

    def up(self) -> None:
        """Containers, what the services expect in them, services."""
        self.servers.start()
        self.run("provision")
        made = State(self.state)
        lock = made.lock()
        assert lock is not None
        argv = [sys.executable, "-m", __name__, "--state", str(self.state)]
        made.write_json("stack.json", {})
        with made.log_file("stack").open("ab") as out:
            self.supervisors.append(
                subprocess.Popen(
                    argv, cwd=ROOT, stdout=out, stderr=out, start_new_session=True, pass_fds=[lock.fileno()]
                )
            )
        lock.close()  # the supervisor has it now
        self.wait_ready()

    def down(self) -> None:
        """Services, then containers; the volumes stay."""
        super().down()
        self.supervisors.pop().wait(60)
        self.servers.stop(down=False)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """A server that stands still while the block lasts."""
        self._compose("pause", name)
        try:
            yield
        finally:
            self._compose("unpause", name)

    def strike(self, name: str, number: signal.Signals, seconds: float = 60) -> None:
        """Signal a service or a server, and wait until it is back."""
        if name not in SERVERS:
            super().strike(name, number, seconds)
            return
        self._compose("kill", "--signal", number.name, name)
        self._compose("wait", name, ok=False)
        self.servers.start()
        self.wait_ready(seconds)

    def _compose(self, *args: str, ok: bool = True) -> None:
        self.docker.run(*self.servers.docker_compose_command()[1:], *args, ok=ok, cwd=ROOT)


@contextmanager
def docker_stack(folder: Path) -> Iterator[DockerStack]:
    """A stack in `folder`, gone at the end with its containers and volumes. Says which images are stand-ins."""
    folder.mkdir(exist_ok=True)
    with engine(folder / "engine") as found, pytest.MonkeyPatch.context() as patch:
        docker = replace(found, env={**found.env, "COMPOSE_PROJECT_NAME": f"headrace-it-{uuid.uuid4().hex[:8]}"})
        for name, value in docker.env.items():
            patch.setenv(name, value)
        services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        images = [standins.PYTHON, *(services[name]["image"] for name in SERVERS)]
        for image, made_of in standins.provide(docker, images).items():
            print(f"{image}: {made_of}", file=sys.__stderr__)
        made = plan.make(State(folder / "state"), ownports.wishes())
        settings = folder / "env"
        settings.write_text("".join(f"{k}={v}\n" for k, v in _environment(made).items()))
        servers = DockerCompose(
            ROOT,
            ["docker-compose.yml", "tests/dockerstack.yml"],
            build=True,
            env_file=str(settings),
            services=list(SERVERS),
            docker_command_path=docker.client,
        )
        stack = DockerStack(made.state.path, docker, servers)
        try:
            stack.up()
            yield stack
        finally:
            stack.run("down", ok=False, timeout=150)
            for supervisor in stack.supervisors:
                supervisor.wait(60)
            servers.services = None  # the networks and the volumes too
            servers.stop()


def _environment(made: StackPlan) -> dict[str, str]:
    """What .env.example names, for the containers to have the ports and passwords of the plan."""
    ports, secret = made.ports, made.secrets
    return {
        "MQTT_PORT": str(ports["mqtt"]),
        "MQTT_CERTIFICATES_PORT": str(ports["mqtt.certificates"]),
        "MQTT_PSK_PORT": str(ports["mqtt.psk"]),
        "MQTT_WEBSOCKETS_PORT": str(ports["mqtt.websockets"]),
        "MQTT_SERVICES_PORT": str(ports["mqtt.services"]),
        "KAFKA_PORT": str(ports["kafka"]),
        "REGISTRY_PORT": str(ports["registry"]),
        "S3_PORT": str(ports["s3"]),
        "HUB_PORT": str(ports["hub"]),
        "HUB_TLS_PORT": str(ports["hub.tls"]),
        "MQTT_PASSWORD": secret["mqtt"],
        "KAFKA_PASSWORD": secret["kafka"],
        "REGISTRY_PASSWORD": secret["registry"],
        "S3_ACCESS_KEY": secret["s3_access"],
        "S3_SECRET_KEY": secret["s3_secret"],
    }


def main() -> None:
    """Supervise the services alone, until a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    logs.setup("stack")
    made = plan.load_made(State(parser.parse_args().state))
    run.run(made, [replace(spec, needs=()) for spec in workers.specs(made)])


if __name__ == "__main__":
    main()
