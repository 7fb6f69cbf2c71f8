"""What the local stack needs of this machine, as `headrace doctor` finds it."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.operate.doctor import Finding
from headrace.stack import download, extras, java, mosquitto, ports, store
from headrace.stack.plan import DEFAULT_PORTS
from headrace.stack.state import State

SYSTEMS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}
NEED_MEMORY, NEED_DISK = 3 << 30, 4 << 30


def machine(state: State) -> Iterator[Finding]:
    """What the local stack needs of this machine."""
    system = (platform.system(), platform.machine())
    known = system in SYSTEMS
    yield Finding(
        "good" if known else "bad", "system", " ".join(system),
        "" if known else "the stack runs on Linux x86-64 and aarch64 and macOS arm64; on Windows, under WSL2",
    )  # fmt: skip
    yield _packages(extras.missing())
    yield from _namesakes()
    yield _try("java", lambda: str(java.find()))
    yield _try("SeaweedFS", lambda: str(store.find()))
    yield _mosquitto()
    for part in download.parts().values():
        here = "downloaded" if part.present else f"not downloaded yet: {part.size >> 20} MB, `headrace up` does it"
        yield Finding("good", f"{part.name} {part.version}", here)
    yield from _room(state)
    yield from _ports(state)


def _packages(missing: list[str]) -> Finding:
    if not missing:
        return Finding("good", "packages", "complete")
    remedy = "`headrace up` installs them, or: pip install 'headrace[all]'"
    return Finding("bad", "packages", f"{len(missing)} missing: {', '.join(missing)}", remedy)


def _namesakes() -> Iterator[Finding]:
    """Other distributions with a package `bridge`, `processors` or `hub`: PyPI has such, unrelated to us."""
    known = metadata.packages_distributions()
    for name in ("bridge", "processors", "hub"):
        for other in sorted({d for d in known.get(name, []) if d != "headrace"}):
            text = f"the distribution {other} has a package `{name}` too, and may be imported instead of Headrace's"
            yield Finding("bad", "packages", text, f"pip uninstall {other}, then install headrace again")


def _try(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding("good", subject, look())
    except HeadraceError as e:
        text, _, remedy = str(e).partition(". ")
        return Finding("bad", subject, text, remedy)


def _mosquitto() -> Finding:
    binary = mosquitto.find()
    if binary is None:
        if sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get"):
            return Finding("good", "Mosquitto", "not installed; `headrace up` installs it with apt-get")
        remedy = "sudo apt-get install mosquitto, sudo dnf install mosquitto, or brew install mosquitto"
        return Finding("bad", "Mosquitto", "not installed", remedy)
    version = mosquitto.version(binary)
    text = f"{binary}, version {'.'.join(map(str, version)) or 'unknown'}"
    if version < (2, 0):
        return Finding("bad", "Mosquitto", text, "2.0 or later is needed: it alone closes listeners by default")
    if version < (2, 1):
        remedy = (
            "no MQTT over WebSockets, and a device can stay connected after it was revoked (docs/broker.md). Use 2.1"
        )
        return Finding("warning", "Mosquitto", text, remedy)
    return Finding("good", "Mosquitto", text)


def _room(state: State) -> Iterator[Finding]:
    for subject, path in (("disk of the state", state.path), ("disk of the downloads", download.cache_dir())):
        there = next(p for p in (path, *path.parents) if p.exists())
        free = shutil.disk_usage(there).free
        remedy = f"make room, or use another disk: {'--state' if path is state.path else 'HEADRACE_CACHE'}"
        text = f"{free / 1e9:.1f} GB free in {there}"
        yield Finding("good" if free > NEED_DISK else "warning", subject, text, remedy if free <= NEED_DISK else "")
    memory = _memory()
    if memory:
        tight = memory < NEED_MEMORY
        remedy = "the stack needs about 2 GB while readings flow: close other programs" if tight else ""
        yield Finding("warning" if tight else "good", "memory", f"{memory / 1e9:.1f} GB available", remedy)


def _memory() -> int:
    """Bytes that are available without swapping; 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)


def _ports(state: State) -> Iterator[Finding]:
    if state.locked:
        return
    known = state.read_json("settings.json").get("ports", {})
    for name, default in DEFAULT_PORTS.items():
        port = known.get(name, default)
        if ports.in_use(port):
            held_by = ports.holder(port)
            text = f"{port} is in use by {held_by or 'a process of another user'}"
            yield Finding("warning", f"port of {name}", text, ports.remedy(name, held_by))
        else:
            yield Finding("good", f"port of {name}", f"{port} is free")
