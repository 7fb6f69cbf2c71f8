"""A stack as a user starts it: real Mosquitto, Kafka, registry and S3 server, and the services."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest
import yaml

from headrace.cli.status import look
from headrace.config import Config, load
from headrace.stack.state import State
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
_TURN = Path(tempfile.gettempdir()) / f"headrace-tests-{os.getuid()}.lock"


@contextmanager
def turn() -> Iterator[None]:
    """While the block lasts no other stack of tests starts on this machine."""
    with _TURN.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Stack:
    """A running stack, and the command line that talks to it."""

    state: Path
    native: ClassVar[bool] = True  # whether its servers are processes of this machine

    def run(self, *args: str, ok: bool = True, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        """`headrace --state STATE args...`; fails the test with what was printed unless it exits 0, or ok=False."""
        done = subprocess.run(
            [sys.executable, "-m", "headrace", "--state", str(self.state), *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "160", **env},
        )
        if ok and done.returncode != 0:
            pytest.fail(f"headrace {' '.join(args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *args: str, ok: bool = True, timeout: float = 120) -> Any:
        """What a command prints as JSON."""
        return orjson.loads(self.run(*args, ok=ok, timeout=timeout).stdout)

    def config(self) -> Config:
        """The configuration that the stack wrote for its services."""
        return load(self.state / "headrace.yaml", {})

    def config_file(self, path: Path, over: dict[str, Any]) -> Path:
        """A configuration of one's own on this stack's servers, such as other streams and groups, as a file."""
        data = yaml.safe_load((self.state / "headrace.yaml").read_text())
        path.write_text(yaml.safe_dump({**data, **over}))
        return path

    def up(self) -> None:
        """Start it, on free ports, and wait until it is ready. One at a time: two would find the same ports free."""
        with turn():
            self.run("up", "--detach", "--auto-ports", timeout=600)

    def down(self) -> None:
        """Stop it; its data stays."""
        self.run("down", timeout=150)

    def services(self) -> dict[str, dict[str, Any]]:
        """What `headrace status` says of each, asked in this process: quick on a busy machine."""
        found: dict[str, dict[str, Any]] = look(State(self.state))["services"]
        return found

    def wait_ready(self, seconds: float = 60, **before: int) -> None:
        """Until the services named are ready, with another process id than that; without names all of them."""

        def ready() -> bool:
            found = self.services()
            names = before or found
            return bool(names) and all(found[n]["state"] == "ready" and found[n]["pid"] != before.get(n) for n in names)

        until(ready, seconds, self.services, pause=0.3)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """A server that stands still while the block lasts."""
        pid = self.services()[name]["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def strike(self, name: str, number: signal.Signals, seconds: float = 60) -> None:
        """Signal a service or a server, and wait until it is back."""
        pid = self.services()[name]["pid"]
        os.kill(pid, number)
        self.wait_ready(seconds, **{name: pid})
