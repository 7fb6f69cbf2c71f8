"""What the benchmarks read of a running stack: its services, their counters, CPU time and memory. Linux only."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel

from headrace.config.connect import Kafka, Mqtt, Registry
from headrace.stack.state import State

_TICKS = os.sysconf("SC_CLK_TCK")
MB = 1 << 20
T = TypeVar("T", bound=BaseModel)


class Usage(NamedTuple):
    """What a process and all that it started have used: CPU seconds, and the peak of their memory in bytes."""

    cpu: float
    rss: int


class Service(NamedTuple):
    """A process of a stack."""

    pid: int
    url: str  # of its metrics, without the path
    token: str  # for its metrics

    def cpu_seconds(self) -> float:
        """CPU time that it has used."""
        return usage(self.pid).cpu

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's values with these labels, whatever other labels they have."""
        head = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(f"{self.url}/metrics", headers=head)  # noqa: S310 - a stack's own address
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            lines = answer.read().decode().splitlines()
        wanted = [f'{k}="{v}"' for k, v in labels.items()]
        found = [line for line in lines if line.startswith(f"{name}{{") and all(w in line for w in wanted)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)


class Servers(NamedTuple):
    """How to reach a stack's servers, read from its headrace.yaml.

    The rest of that file is not read: the stack may be of another checkout, which has other keys.
    """

    mqtt: Mqtt
    kafka: Kafka
    registry: Registry


def servers(state: Path) -> Servers:
    """The servers of the stack whose state is in this folder."""
    found = yaml.safe_load((state / "headrace.yaml").read_text())
    return Servers(_read(found, Mqtt), _read(found, Kafka), _read(found, Registry))


def _read(found: dict[str, Any], kind: type[T]) -> T:
    """A section, without the keys that this checkout does not know."""
    part = found.get(kind.__name__.lower(), {})
    return kind.model_validate({k: v for k, v in part.items() if k in kind.model_fields})


def services(state: Path) -> dict[str, Service]:
    """The services of the stack whose state is in this folder, by name.

    Read from its stack.json: no command is run, as the stack may be of another checkout.
    """
    found = State(state).read_json("stack.json").get("services", {})
    token = State(state).secret("metrics")
    return {name: Service(it["pid"], it["address"], token) for name, it in found.items()}


def wait(what: str, reached: Callable[[], bool], seconds: float = 300.0, pause: float = 0.1) -> None:
    """Return once `reached`; TimeoutError, saying `what` was waited for, after so many seconds."""
    until = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


def usage(pid: int, *, children: bool = True) -> Usage:
    """What the process, its children, and those that have ended have used; or it alone."""
    cpu, rss = 0.0, 0
    for one in family(pid) if children else [pid]:
        with suppress(OSError):  # one of its children has ended: from now on its parent has its time
            cpu += sum(map(int, _stat(one)[11 : 15 if children else 13])) / _TICKS
            peak = [x for x in Path(f"/proc/{one}/status").read_text().splitlines() if x.startswith("VmHWM:")]
            rss += int(peak[0].split()[1]) * 1024 if peak else 0
    return Usage(cpu, rss)


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
    found = [pid]
    for one in found:  # it grows meanwhile
        found += parents.get(one, [])
    return found


@contextmanager
def held(pid: int) -> Iterator[None]:
    """The process and its children stand still while the block lasts: a backlog gathers before them."""
    them = family(pid)
    for one in them:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in them:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)


def append(path: Path, line: dict[str, Any]) -> None:
    """Write a result as a line of JSON."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: state, parent, and so on."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
