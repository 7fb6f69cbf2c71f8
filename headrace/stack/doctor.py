"""What `headrace doctor` looks at: the machine, and a configuration with the servers it names."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from headrace import kafka, provision, tls
from headrace.config import Config
from headrace.errors import ConfigError, HeadraceError, TransientError
from headrace.stack import download, extras, java, mosquitto, ports, store
from headrace.stack.plan import DEFAULT_PORTS
from headrace.stack.state import State

SYSTEMS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}
NEED_MEMORY, NEED_DISK = 3 << 30, 4 << 30


class Finding(NamedTuple):
    """One thing looked at. `bad` means that it does not work so, `warning` that it is unsafe or will be tight."""

    level: Literal["good", "warning", "bad"]
    subject: str
    text: str
    remedy: str = ""


def machine(state: State) -> Iterator[Finding]:
    """What the local stack needs of this machine."""
    system = (platform.system(), platform.machine())
    known = system in SYSTEMS
    yield Finding(
        "good" if known else "bad", "system", " ".join(system),
        "" if known else "the stack runs on Linux x86-64 and aarch64 and macOS arm64; on Windows, under WSL2",
    )  # fmt: skip
    missing = extras.missing()
    names = f"{len(missing)} missing: {', '.join(missing)}"
    remedy = "`headrace up` installs them, or: pip install 'headrace[all]'"
    yield Finding("bad" if missing else "good", "packages", names if missing else "complete", remedy if missing else "")
    yield _try("java", lambda: str(java.find()))
    yield _try("SeaweedFS", lambda: str(store.find()))
    yield _mosquitto()
    for part in download.parts().values():
        here = "downloaded" if part.present else f"not downloaded yet: {part.size >> 20} MB, `headrace up` does it"
        yield Finding("good", f"{part.name} {part.version}", here)
    yield from _room(state)
    yield from _ports(state)


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
        remedy = "the stack takes about 2 GB when readings flow: close other programs" if tight else ""
        yield Finding("warning" if tight else "good", "memory", f"{memory / 1e9:.1f} GB available", remedy)


def _memory() -> int:
    """Bytes that can be had without swapping; 0 where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)


def _ports(state: State) -> Iterator[Finding]:
    if state.held:
        return
    known = state.read_json("settings.json").get("ports", {})
    for name, default in DEFAULT_PORTS.items():
        port = known.get(name, default)
        if ports.in_use(port):
            held_by = ports.holder(port)
            text = f"{port} is in use by {held_by or 'a process that this user can not see'}"
            yield Finding("warning", f"port of {name}", text, ports.remedy(name, held_by))
        else:
            yield Finding("good", f"port of {name}", f"{port} is free")


def installation(config: Config) -> Iterator[Finding]:
    """Whether the servers of a configuration answer, and whether it keeps what the design promises."""
    yield _reach("MQTT", lambda: _mqtt(config))
    yield from _mqtt_open(config)
    yield _reach("Kafka", lambda: f"{config.kafka.bootstrap}, {kafka.probe(config.kafka)} broker(s)")
    yield from _kafka(config)
    yield _reach("registry", lambda: _registry(config))
    yield _reach("object store", lambda: _store(config))


def _reach(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding("good", subject, look())
    except HeadraceError as e:
        return Finding("bad", subject, str(e), "is it running, and is the address right? Here: `headrace status`")


def _mqtt(config: Config) -> str:
    m = config.mqtt
    if m.tls.enabled:
        found = tls.look(m.host, m.port, m.tls, "mqtt.tls", "mqtt.host")
        if found.refused:
            raise ConfigError(f"{m.host}:{m.port}: {found.refused}")
        if not ports.listening(m.port, m.host):
            raise TransientError(f"{m.host}:{m.port}: nobody listens there")
        if found.absent:
            raise ConfigError(
                f"{m.host}:{m.port}: it does not speak TLS ({found.absent}). Set mqtt.port to that of its TLS "
                "listener, usually 8883, or mqtt.tls.enabled to false"
            )
        return f"{m.host}:{m.port}: its certificate is good; the password was not tried"
    mosquitto.connect(m.host, m.port, m.username, m.password.get_secret_value() if m.password else None)
    return f"{m.host}:{m.port}"


def _mqtt_open(config: Config) -> Iterator[Finding]:
    m = config.mqtt
    try:
        if not m.tls.enabled and mosquitto.handshake(m.host, m.port, None, None) == 0:
            yield Finding(
                "warning", "MQTT", "anyone may connect without a password", "allow_anonymous false in mosquitto.conf"
            )
    except HeadraceError:
        return


def _registry(config: Config) -> str:
    from headrace.registry import Registry

    with Registry(config.registry) as registry:
        registry.latest("_doctor")
    return config.registry.url


def _store(config: Config) -> str:
    from headrace.lake import remote
    from headrace.store.open import open_store

    next(iter(open_store(config.store).list("_doctor/")), None)  # a listing, alone, tells of a missing bucket
    return f"{remote.where(config.store)}, bucket {config.store.bucket}"


def _kafka(config: Config) -> Iterator[Finding]:
    k = config.kafka
    if k.replication_factor < 3 or k.min_insync_replicas < 2:
        yield Finding(
            "warning",
            "copies in Kafka",
            f"replication factor {k.replication_factor}, min ISR {k.min_insync_replicas}: a power loss may "
            "take readings that were acknowledged",
            "fine on one machine; in production three brokers, factor 3 and min ISR 2",
        )
    wanted = {s.name: s for s in provision.topic_specs(config)}
    try:
        have = kafka.describe(k, wanted)
    except HeadraceError:
        return
    for name, spec in wanted.items():
        info = have.get(name)
        if info is None:
            yield Finding("bad", f"topic {name}", "is missing", "headrace provision")
        elif info.partitions != spec.partitions:
            text = f"has {info.partitions} partitions, the configuration says {spec.partitions}"
            yield Finding("bad", f"topic {name}", text, f"set partitions: {info.partitions} in the configuration")
        elif info.max_message_bytes < spec.max_message_bytes:
            text = f"takes {info.max_message_bytes} bytes, {spec.max_message_bytes} are needed"
            remedy = f"kafka-configs --alter --topic {name} --add-config max.message.bytes={spec.max_message_bytes}"
            yield Finding("bad", f"topic {name}", text, remedy)
    if len(have) == len(wanted):
        yield Finding("good", "topics", f"all {len(wanted)} there")
