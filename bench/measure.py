"""What the benchmarks read of a running stack: its services, their counters and their CPU time. Linux only."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from headrace.stack.state import State

_TICKS = os.sysconf("SC_CLK_TCK")


class Service(NamedTuple):
    """A process of a stack."""

    pid: int
    url: str  # of its metrics, without the path
    token: str  # for its metrics

    def cpu_seconds(self) -> float:
        """CPU time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's values with these labels, whatever other labels they have."""
        head = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(f"{self.url}/metrics", headers=head)  # noqa: S310 - a stack's own address
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            lines = answer.read().decode().splitlines()
        wanted = [f'{k}="{v}"' for k, v in labels.items()]
        found = [line for line in lines if line.startswith(f"{name}{{") and all(w in line for w in wanted)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def services(state: Path) -> dict[str, Service]:
    """The services of the stack whose state is in this folder, by name."""
    command = [sys.executable, "-m", "headrace", "--state", str(state), "status", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["services"]
    token = State(state).secret("metrics")
    return {name: Service(it["pid"], it["address"], token) for name, it in found.items()}


def wait(what: str, reached: Callable[[], bool], seconds: float = 300.0) -> None:
    """Return once `reached`; TimeoutError, saying `what` was waited for, after so many seconds."""
    until = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)
