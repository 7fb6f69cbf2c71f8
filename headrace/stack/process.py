"""Processes that we started: start them, recognise them even when a pid is used again, stop them, leave none."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

# The stack's folder, in the environment of all that it starts: finds what a killed supervisor had no time to note.
MARK = "_HEADRACE_STACK"


class Process(NamedTuple):
    """A process as noted. `started` is its start in the system's own terms: a reused pid is not taken for it."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether this very process is still running."""
        return self.pid > 0 and bool(self.started) and start_time(self.pid) == self.started


NONE = Process(0, "")


def start_time(pid: int) -> str:
    """When process `pid` started, empty when there is none or it is a zombie. Comparable for equality only."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        fields = stat.rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else f"{_boot()}:{fields[19]}"
    found = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, when = found.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else when.strip()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        return ""


def launch(argv: Sequence[str], env: Mapping[str, str], cwd: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start `argv` as the leader of a session, and so of a process group, of its own: Ctrl-C does not reach it.

    What it makes is for this user alone, whatever the umask here is: SeaweedFS has sockets in /tmp.
    """
    return subprocess.Popen(
        argv,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        umask=0o077,
    )


def signal_group(process: Process, number: int) -> bool:
    """Signal the group that `process` leads, or only itself when it leads none. False when it is gone."""
    if not process.alive:
        return False
    try:
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def stop(processes: Iterable[Process], grace: float) -> list[Process]:
    """SIGTERM to all, SIGKILL to those still running after `grace` seconds. Returns those that were killed."""
    left = [p for p in processes if signal_group(p, signal.SIGTERM)]
    wait_gone(left, grace)
    stubborn = [p for p in left if signal_group(p, signal.SIGKILL)]
    wait_gone(stubborn, 5.0)
    return stubborn


def wait_gone(processes: Sequence[Process], seconds: float) -> bool:
    """Wait until none of them runs. False when some still run after the time."""
    until = time.monotonic() + seconds
    while any(p.alive for p in processes):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def marked(state: Path) -> list[Process]:
    """Processes with this stack's mark in their environment, except this one. Linux only; empty elsewhere."""
    pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    out = [Process(pid, start_time(pid)) for pid in pids if pid != os.getpid() and mark_of(pid) == str(state)]
    return [p for p in out if p.started]


def mark_of(pid: int) -> str:
    """The folder of the stack that a process belongs to. Empty for none, for another user's, and beside Linux."""
    try:
        found = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    wanted = f"{MARK}=".encode()
    return next((v.removeprefix(wanted).decode(errors="replace") for v in found if v.startswith(wanted)), "")
