"""A newcomer's checkout with `docker compose` running in it: what Git tracks, on free ports, named for this run."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from headrace.stack import ports
from tests.compose.engine import Docker
from tests.stack import ROOT

PORTS = (
    "MQTT_PORT",
    "MQTT_CERTIFICATES_PORT",
    "MQTT_PSK_PORT",
    "MQTT_WEBSOCKETS_PORT",
    "KAFKA_PORT",
    "REGISTRY_PORT",
    "S3_PORT",
    "HUB_PORT",
    "HUB_TLS_PORT",
    "INGEST_PORT",
    "PROMETHEUS_PORT",
    "GRAFANA_PORT",
)
SERVERS = ("mosquitto", "kafka", "registry", "store")
WORKERS = ("bridge", "ingest", "clean", "derive", "archive", "compact", "hub", "agent")


@dataclass
class Project:
    """The copy in `folder`, on the engine `docker`."""

    docker: Docker
    folder: Path
    name: str = field(default_factory=lambda: f"headrace-test-{os.getpid()}")
    ports: dict[str, int] = field(default_factory=dict)

    def lay_out(self) -> None:
        """Copy the tracked files as they are now, and write the .env that keeps two runs apart."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        for name in filter(None, listed.decode().split("\0")):
            source, target = ROOT / name, self.folder / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        self._fit()
        taken: set[int] = set()
        self.ports = {name: ports.free(taken) for name in PORTS}
        lines = [f"COMPOSE_PROJECT_NAME={self.name}", *(f"{k}={v}" for k, v in self.ports.items())]
        (self.folder / ".env").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _fit(self) -> None:
        """Ask for no more open files than this machine gives: a private engine can't go beyond its limit."""
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if not self.docker.private or most == resource.RLIM_INFINITY:
            return
        path = self.folder / "docker-compose.yml"
        text = path.read_text(encoding="utf-8")
        fitting = re.sub(r"(?<=nofile: )\d+", lambda found: str(min(int(found[0]), most)), text)
        path.write_text(fitting, encoding="utf-8")

    def compose(self, *args: str, ok: bool = True, timeout: float = 600, stdin: str | None = None) -> str:
        """What `docker compose args...` prints on standard output."""
        return self.docker.compose(*args, cwd=self.folder, ok=ok, timeout=timeout, stdin=stdin).stdout

    def headrace(self, *args: str, ok: bool = True, timeout: float = 180) -> str:
        """What `headrace args...` prints, called as the README's alias calls it."""
        run = ("run", "--rm", "--no-TTY", "--user", f"{os.getuid()}:10001", "headrace")
        return self.compose("--progress", "quiet", *run, *args, ok=ok, timeout=timeout)

    def verify(self, seconds: int = 90) -> dict[str, Any]:
        """What `headrace verify` counts, once all is stored; an assertion where it is not good."""
        out: dict[str, Any] = json.loads(self.headrace("verify", "--wait", str(seconds), "--json", ok=False))
        assert out["all_stored"], out
        for name, stream in out["streams"].items():
            assert (stream["gaps"], stream["duplicates"]) == (0, 0), (name, stream)
        return out

    def inspect(self, service: str) -> dict[str, Any]:
        """The container of a service, as the engine tells."""
        found = self.compose("ps", "--all", "--quiet", service).split()
        out: dict[str, Any] = json.loads(self.docker.run("inspect", found[0]).stdout)[0]
        return out

    def kill(self, service: str) -> None:
        """End a service's process as the kernel would; the engine restarts it. Wait until it is healthy again."""
        state = self.inspect(service)["State"]
        if self.docker.private:
            os.kill(state["Pid"], signal.SIGKILL)
        else:  # its processes may be another machine's
            self.compose("kill", service)
            self.compose("start", service)
        until = time.monotonic() + 120
        while True:
            now = self.inspect(service)["State"]
            if now["StartedAt"] != state["StartedAt"] and now["Running"] and now["Health"]["Status"] == "healthy":
                return
            assert time.monotonic() < until, now
            time.sleep(0.5)

    def device_file(self) -> Path:
        """A configuration for a fleet outside: the published ports of broker and hub, and hub's token."""
        token = self.compose(
            "--progress", "quiet", "run", "--rm", "--no-TTY", "--entrypoint", "cat", "headrace",
            "/run/secrets/hub_admin_token",
        )  # fmt: skip
        data = yaml.safe_load((self.folder / "compose" / "headrace.yaml").read_text(encoding="utf-8"))
        hub = {"url": f"http://127.0.0.1:{self.ports['HUB_PORT']}", "token": token.strip()}
        mqtt = {"host": "127.0.0.1", "port": self.ports["MQTT_PORT"]}
        path = self.folder.parent / "device.yaml"
        path.write_text(yaml.safe_dump({"mqtt": mqtt, "hub": hub, "streams": data["streams"]}), encoding="utf-8")
        return path

    @contextmanager
    def fleet(self, *args: str) -> Iterator[dict[str, Any]]:
        """Devices that send to the published port while the block lasts, to their end; then what they sent is there."""
        sent: dict[str, Any] = {}
        argv = [sys.executable, "-m", "headrace", "--config", str(self.device_file()), "simulate", "--json", *args]
        env = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
        process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            yield sent
            out, err = process.communicate(timeout=180)
            assert process.returncode == 0, err
            sent.update(json.loads(out)["streams"])
        finally:
            process.kill()
            process.communicate()

    def left(self) -> dict[str, list[str]]:
        """What there is of the project: containers, volumes, networks. With a private engine, everybody's volumes."""
        label = ("--filter", f"label=com.docker.compose.project={self.name}")
        return {
            "containers": self.docker.run("ps", "--all", "--quiet", *label).stdout.split(),
            "volumes": self.docker.run(
                "volume", "ls", "--quiet", *(() if self.docker.private else label)
            ).stdout.split(),
            "networks": self.docker.run("network", "ls", "--quiet", *label).stdout.split(),
        }
