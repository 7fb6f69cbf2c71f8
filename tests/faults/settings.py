"""Stacks that some faults need: small disks, other clocks, three brokers, PostgreSQL, a derived stream, small files."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.config import load
from headrace.stack.process import MARK
from tests import postgres
from tests.faults import parts, small
from tests.faults.cluster import brokers
from tests.faults.readings import STREAM
from tests.faults.world import ROOT, World, attached
from tests.stack import turn

CLOCK_FILE = "clock"  # beside the state folder: libfaketime's offset
DISK = "500m"
SERVERS = ("kafka", "store", "mosquitto", "hub")
LIBRARIES = (
    "/usr/local/lib/faketime/libfaketime.so.1",
    "/usr/lib/*/faketime/libfaketime.so.1",
    "/usr/lib*/faketime/libfaketime.so.1",
)


def disks() -> str:
    """Why small disks can't be had on this machine; empty when they can."""
    return (
        ""
        if sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount")
        else "mounting needs root on Linux"
    )


def clocks() -> str:
    """Why clocks can't be set apart on this machine; empty when they can."""
    library = _faketime()
    if library is None:
        return "libfaketime is not installed (apt-get install faketime)"
    # 0.9.10 answers EINVAL to the clock_nanosleep of Python 3.11 and later, so that nothing of the stack would start.
    asleep = [sys.executable, "-c", "import time; time.sleep(0.01)"]
    env = {**os.environ, **_preloaded(library), "FAKETIME": "+0"}
    broken = subprocess.run(asleep, env=env, check=False, capture_output=True).returncode
    words = "another version is needed. Build github.com/wolfcw/libfaketime into /usr/local (make && make install)"
    return f"{library} breaks time.sleep of this Python: {words}" if broken else ""


def databases() -> str:
    """Why hub can't have PostgreSQL on this machine; empty when it can."""
    try:
        postgres.program("initdb")
    except pytest.skip.Exception:
        return postgres.ABSENT
    return ""


def _preloaded(library: Path) -> dict[str, str]:
    """The environment of a process whose wall clock may be off, and whose monotonic clock is not."""
    return {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def _faketime() -> Path | None:
    return next((p for pattern in LIBRARIES for p in Path("/").glob(pattern.lstrip("/"))), None)


@contextmanager
def setting(kind: str, folder: Path) -> Iterator[World]:
    """A stack in `folder`, of the kind that a fault asks for, stopped at the end."""
    state, env = folder / "state", {k: v for k, v in os.environ.items() if k != MARK}
    with ExitStack() as cleanup:
        if kind == "disks":
            for name in SERVERS:
                place = state / "data" / name
                place.mkdir(parents=True)
                cleanup.enter_context(small_disk(place, DISK))
        if kind == "clocks":
            clock = folder / CLOCK_FILE
            clock.write_text("+0\n")
            library = _faketime()
            assert library is not None, clocks()
            env |= {**_preloaded(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1"}
        with turn():
            _headrace(env, state, "up", "--detach", "--auto-ports")
        cleanup.callback(_headrace, env, state, "down")
        over: dict[str, Any] = {}
        if kind == "brokers":
            bootstrap = cleanup.enter_context(brokers(folder / "brokers", load(state / "headrace.yaml", {}).kafka))
            over = {
                "kafka": {"bootstrap": bootstrap, "replication_factor": 3, "min_insync_replicas": 2},
                "store": {"bucket": "three-brokers"},  # the lake of other topics: the archive would refuse it
            }
        if kind == "derived":
            over = parts.placed(folder / "derived")
        if kind == "compact":
            over = small.OVER
        if kind == "files":
            streams = yaml.safe_load((state / "headrace.yaml").read_text())["streams"]
            over = {"streams": {STREAM: {**streams[STREAM], "files": True}}}
        database: postgres.Server | None = None
        if kind == "postgres":
            database = cleanup.enter_context(postgres.running())
            serve = yaml.safe_load((state / "headrace.yaml").read_text())["hub"]["serve"]
            over = {"hub": {"serve": {**serve, "database": database.url}}}
        world = cleanup.enter_context(attached(state, over))
        world.postgres = database
        yield world


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of that size, mounted on the folder `path`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def _headrace(env: dict[str, str], state: Path, *args: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "headrace", "--state", str(state), *args], cwd=ROOT, check=True, env=env,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
