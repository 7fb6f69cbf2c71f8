"""On what a benchmark ran: machine, Python build, versions and commit."""

import json
import os
import platform
import subprocess
import sysconfig
import time
from importlib import metadata
from pathlib import Path

from bench.figures import Line
from bench.peers import install
from headrace.stack import download, mosquitto

PACKAGES = ("confluent-kafka", "mqtt5", "msgspec", "polars", "polars-avro", "pyarrow", "obstore")


def about() -> Line:
    """The facts, as a line of the results."""
    binary = mosquitto.find()
    asked = ["git", "log", "-1", "--format=%h", "--abbrev=12", "--", "bridge", "processors", "headrace", "schemas"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False)  # the last that changed what runs
    return {
        "what": "machine",
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": commit.stdout.strip(),
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_gb": round(int(_first("/proc/meminfo", "MemTotal").split()[0]) / 1e6, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1),
        "python": f"{platform.python_version()}, {build()}, {pace():.0f} ns a step of an addition loop",
        "mosquitto": ".".join(map(str, mosquitto.version(binary))) if binary else "",
        "kafka": json.loads(download.LOCK.read_text())["kafka"]["version"],
        "telegraf": install.TELEGRAF,
        "quix": install.QUIX,
        "iceberg": f"{install.ICEBERG} on Kafka Connect {install.CONNECT}",
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def build(flags: str | None = None) -> str:
    """How Python was configured: it matters, as PGO and LTO make a pure-Python loop 1.4 times as fast.

    Debian builds with PGO by make's target, which configure's arguments do not tell: `pace` is what shows it.
    """
    said = (sysconfig.get_config_var("CONFIG_ARGS") or "") if flags is None else flags
    pgo, lto = "--enable-optimizations" in said, "--with-lto" in said
    return f"configured {'with' if pgo else 'without'} PGO, {'with' if lto else 'without'} LTO"


def pace(steps: int = 1_000_000) -> float:
    """Nanoseconds for a step of a loop that adds: the best of ten, as other work only adds to it."""
    best = float("inf")
    for _ in range(10):
        began, total = time.perf_counter_ns(), 0
        for i in range(steps):
            total += i & 7
        best = min(best, (time.perf_counter_ns() - began) / steps)
    return best


def _first(path: str, key: str) -> str:
    lines = [x for x in Path(path).read_text().splitlines() if x.startswith(key)]
    return lines[0].split(":", 1)[1].strip() if lines else "0"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
