"""Ports: which are free, which process holds one, and which to take instead."""

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

from headrace.runtime.sockets import listening
from headrace.stack.process import mark_of

# Below the ports of outgoing connections (32768 and up): one of those could be taken while a server restarts.
LOW, HIGH = 10_000, 32_000


def in_use(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something listens on, or has bound, `port` of `host`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        # Without it, connections that ended a moment ago would count.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
        except OSError:
            return True
    # Some systems let an address be bound beside a server on all addresses.
    return listening(port, host)


def free(taken: set[int]) -> int:
    """A free port that is not in `taken`; it is added there. RuntimeError when 1,000 tries find none."""
    for _ in range(1000):
        port = random.randrange(LOW, HIGH)  # noqa: S311 - not a secret
        if port not in taken and not in_use(port):
            taken.add(port)
            return port
    raise RuntimeError(f"no free port between {LOW} and {HIGH}")


def holder(port: int) -> str:
    """Which process listens on `port`, in words: "mosquitto (pid 123)". Empty when this can't be found out."""
    found = _by_proc(port) if Path("/proc/net/tcp").exists() else _by_lsof(port)
    return " and ".join(f"{name} (pid {pid})" for pid, name in sorted(found.items()))


def _by_proc(port: int) -> dict[int, str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A: listening
                inodes.add(f"socket:[{fields[9]}]")
    out: dict[int, str] = {}
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            if any(_target(fd) in inodes for fd in (process / "fd").iterdir()):
                out[int(process.name)] = (process / "comm").read_text(encoding="utf-8").strip()
        except OSError:  # another user's, or gone
            continue
    return out


def _target(fd: Path) -> str:
    """What a file descriptor stands for. Empty when it was closed meanwhile, as that of the list itself is."""
    try:
        return str(fd.readlink())
    except OSError:
        return ""


def _by_lsof(port: int) -> dict[int, str]:
    lsof = shutil.which("lsof") or "/usr/sbin/lsof"
    try:
        found = subprocess.run(
            [lsof, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    out: dict[int, str] = {}
    pid = 0
    for line in found.stdout.splitlines():
        if line.startswith("p"):
            pid = int(line[1:])
        elif line.startswith("c"):
            out[pid] = line[1:]
    return out


def remedy(service: str, held_by: str) -> str:
    """What to do about a port in use, in a sentence or two."""
    way_out = f"choose another port (--port {service}=NUMBER), or let Headrace choose free ones: {auto()}"
    if service == "mqtt" and (held_by.startswith("mosquitto") or (not held_by and broker_of_distribution())):
        return f"That is the system's own broker: `sudo systemctl stop mosquitto`, or {way_out}"
    return f"Stop it, {way_out}"


def auto() -> str:
    """How to let free ports be chosen: `make` takes options in its own way."""
    return "make up ARGS=--auto-ports" if os.environ.get("MAKELEVEL") else "--auto-ports"


def stack_on(taken: Iterable[int]) -> str:
    """The state folder of a Headrace stack of this user that holds one of these ports; empty where there is none.

    Linux only: empty elsewhere.
    """
    for port in taken:
        for pid in _by_proc(port):
            if found := mark_of(pid):
                return found
    return ""


def broker_of_distribution() -> bool:
    """Whether a process called mosquitto runs, of any user. Linux only."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text(encoding="utf-8").strip() == "mosquitto":
                return True
        except OSError:
            continue
    return False
