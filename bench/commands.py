"""What commands cost: the start of a stack that was there before, and CPU seconds of short commands."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Line

RUNS = 5
COMMANDS = (["--version"], ["status"], ["query", "select 1"])


def measured() -> list[Line]:
    """On a stack of its own: seconds of the second `up`, then each command in turn, a line for each run."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        command = [sys.executable, "-m", "headrace", "--state", str(Path(folder) / "state")]
        up = [*command, "up", "--detach", "--auto-ports"]
        try:
            _run(up)
            _run([*command, "down"])
            begun = time.monotonic()
            _run(up)
            lines: list[Line] = [{"what": "start", "name": "headrace up", "seconds": time.monotonic() - begun}]
            for _ in range(RUNS):
                lines += [
                    {"what": "command", "name": _name(words), "cpu": _cpu([*command, *words])} for words in COMMANDS
                ]
            return lines
        finally:
            _run([*command, "down"])


def _name(words: list[str]) -> str:
    return " ".join(["headrace", *(f"'{w}'" if " " in w else w for w in words)])


def _run(command: list[str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600, check=True)


def _cpu(command: list[str]) -> float:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # as a user has it
    it = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env)
    _, status, used = os.wait4(it.pid, 0)
    if status:
        raise RuntimeError(f"{_name(command[5:])} failed: run it by hand")
    return used.ru_utime + used.ru_stime
