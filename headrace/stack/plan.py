"""What a stack will be: its ports, secrets and configuration, settled before anything starts."""

import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from headrace.config import Config, load
from headrace.config.load import merge, read_yaml
from headrace.errors import ConfigError
from headrace.stack import ports
from headrace.stack.state import State

# What people know. Each may be set with --port NAME=NUMBER.
DEFAULT_PORTS = {"mqtt": 1883, "kafka": 9092, "registry": 8081, "s3": 8333, "page": 8080}
# What nobody needs to know: picked free, kept from one start to the next.
INNER_PORTS = (
    "kafka.controller", "registry.management", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer",
    "filer.grpc", "admin", "admin.grpc", "bridge.http", "clean.http", "archive.http",
)  # fmt: skip
CONNECTIONS = ("mqtt", "kafka", "registry", "store")
# Whoever tries a stack wants to see a reading in the lake at once, however small the files that this makes.
HASTE = {"idle_seconds": 2, "max_age_seconds": 10}
DEFAULT_CONFIG: dict[str, Any] = {
    "streams": {name: {"routes": [f"sensors/{{device_id}}/{name}"]} for name in ("imu", "environment", "vibration")},
    "bridge": {"unrouted": ["sensors/#"]},
}
USER, DEVICE_USER, HOST = "headrace", "device", "127.0.0.1"


class Listen(NamedTuple):
    """A second MQTT listener, for devices on the network."""

    address: str
    port: int
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class Wishes:
    """What a person asked `headrace up` for; None is "as last time"."""

    config: Path | None = None
    ports: dict[str, int] = field(default_factory=dict)
    auto_ports: bool = False
    listen: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


@dataclass(frozen=True)
class Plan:
    """A stack that may be started: `ports` by the names above, `secrets` by name, and notes to show."""

    state: State
    ports: dict[str, int]
    secrets: dict[str, str]
    config: Config
    config_path: Path | None
    listen: Listen | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """How to run one service. `probe` raises HeadraceError until it serves; `provide` is called then, each time."""

    name: str
    argv: Callable[[], list[str]]
    address: str
    probe: Callable[[], None]
    env: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    provide: Callable[[], object] = lambda: None
    needs: tuple[str, ...] = ()
    health_port: int = 0  # of /livez, /readyz and /metrics; 0 where there are none
    grace: float = 15.0  # seconds between SIGTERM and SIGKILL


def make(state: State, wishes: Wishes) -> Plan:
    """The plan, written to the state folder: settings, secrets and headrace.yaml.

    Raises ConfigError, naming holder and remedy, when a port is in use or a configuration does not hold. Call it only
    while no process of this stack runs.
    """
    # Everything that can be refused is looked at before anything is written.
    known = state.read_json("settings.json")
    config_path = wishes.config or (Path(known["config"]) if known.get("config") else None)
    notes: list[str] = []
    base = _streams(config_path, notes)
    chosen = _ports(known, wishes, notes)
    listen = _listen(known.get("listen"), wishes, chosen)
    state.create()
    secret = _secrets(state)
    config = load(config_path, over=merge(base, connections(chosen, secret)))
    state.write_json(
        "settings.json", {"ports": chosen, "listen": _listen_json(listen), "config": str(config_path or "")}
    )
    state.write_config(config)
    return Plan(state, chosen, secret, config, config_path, listen, tuple(notes))


def load_made(state: State) -> Plan:
    """The plan that `make` wrote."""
    known = state.read_json("settings.json")
    path = Path(known["config"]) if known.get("config") else None
    listen = _listen(known.get("listen"), Wishes(), known["ports"])
    return Plan(state, known["ports"], _secrets(state), load(state.config_file, environ={}), path, listen)


def connections(chosen: dict[str, int], secret: dict[str, str]) -> dict[str, Any]:
    """What the stack says about itself, over any configuration."""
    return {
        "mqtt": {"host": HOST, "port": chosen["mqtt"], "username": USER, "password": secret["mqtt"]},
        "kafka": {"bootstrap": f"{HOST}:{chosen['kafka']}"},
        "registry": {"url": f"http://{HOST}:{chosen['registry']}/apis/ccompat/v7"},
        "store": {
            "kind": "s3", "endpoint": f"{HOST}:{chosen['s3']}",
            "access_key": secret["s3_access"], "secret_key": secret["s3_secret"],
        },
        "bridge": {"http": {"host": HOST, "port": chosen["bridge.http"]}},
        "clean": {"http": {"host": HOST, "port": chosen["clean.http"]}},
        "archive": {"http": {"host": HOST, "port": chosen["archive.http"]}},
    }  # fmt: skip


def _streams(path: Path | None, notes: list[str]) -> dict[str, Any]:
    """What goes over the user's file: the archive's haste, and the default streams where there is no file."""
    if path is None:
        return {**DEFAULT_CONFIG, "archive": HASTE}
    data = read_yaml(path)
    own = [name for name in CONNECTIONS if name in data]
    if own:
        notes.append(f"{path}: {', '.join(own)} not used: the local stack brings its own")
    if not data.get("streams"):
        raise ConfigError(f"{path}: streams: give at least one, with the MQTT topics that feed it")
    return {"archive": {k: v for k, v in HASTE.items() if k not in (data.get("archive") or {})}}


def _ports(known: dict[str, Any], wishes: Wishes, notes: list[str]) -> dict[str, int]:
    before: dict[str, int] = known.get("ports", {})
    for name in wishes.ports:
        if name not in DEFAULT_PORTS:
            raise ConfigError(f"--port {name}: not one of {', '.join(DEFAULT_PORTS)}")
    out: dict[str, int] = {}
    taken: set[int] = set(before.values()) | set(wishes.ports.values())
    problems = []
    for name, default in DEFAULT_PORTS.items():
        port = out[name] = wishes.ports.get(name, before.get(name, default))
        if list(out.values()).count(port) > 1:
            raise ConfigError(f"--port {name}={port}: the same port twice")
        if not ports.in_use(port):
            continue
        if wishes.auto_ports and name not in wishes.ports:
            out[name] = ports.free(taken)
            notes.append(f"port {port} is in use: {name} is on {out[name]}")
            continue
        held_by = ports.holder(port)
        who = held_by or "a process that this user can't see"
        problems.append(f"port {port} ({name}) is in use by {who}. {ports.remedy(name, held_by)}")
    if problems:
        if other := ports.stack_on(out["page"]):
            raise ConfigError(
                f"another Headrace stack runs, in {other}, on ports that this one wants. Stop it with "
                f"`headrace --state {shlex.quote(other)} down`, or let free ports be picked: {ports.auto()}"
            )
        raise ConfigError("\n".join(problems))
    for name in INNER_PORTS:
        port = before.get(name, 0)
        out[name] = port if port and not ports.in_use(port) else ports.free(taken)
    return out


def _listen(before: dict[str, Any] | None, wishes: Wishes, chosen: dict[str, int]) -> Listen | None:
    """`ADDR` or `ADDR:PORT`; `off` forgets what was asked for last time."""
    if wishes.listen is None and before and not (wishes.tls_cert or wishes.tls_key):
        files = [Path(before[k]) if before.get(k) else None for k in ("cert", "key")]
        return Listen(before["address"], before["port"], files[0], files[1])
    if wishes.listen in {None, "", "off"}:
        if wishes.tls_cert or wishes.tls_key:
            raise ConfigError("--tls-cert and --tls-key go with --listen: say on which address")
        return None
    if (wishes.tls_cert is None) != (wishes.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key go together")
    for path in (wishes.tls_cert, wishes.tls_key):
        if path is not None and not path.is_file():
            raise ConfigError(f"{path}: no such file")
    address, port = _address(wishes.listen or "", 8883 if wishes.tls_cert else chosen["mqtt"])
    listen = Listen(address, port, *(p.absolute() if p else None for p in (wishes.tls_cert, wishes.tls_key)))
    if listen.cert and port == chosen["mqtt"]:
        raise ConfigError(f"--listen: port {port} is that of the plain listener on {HOST}; TLS needs another, as 8883")
    try:
        busy = ports.in_use(port, address)
    except OSError as e:
        raise ConfigError(f"--listen {address}: not an address of this machine ({e.strerror or e})") from None
    if busy:
        held_by = ports.holder(port)
        if not held_by and not ports.listening(port, address):
            raise ConfigError(
                f"--listen {address}: can't listen there: is it an address of this machine (`ip address`)?"
            )
        raise ConfigError(
            f"port {port} ({address}) is in use by {held_by or 'another user'}. Give --listen {address}:PORT"
        )
    return listen


def _address(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if text.startswith("[") and text.endswith("]"):
        return text[1:-1], default_port
    if not colon or (":" in host and not host.endswith("]")):  # no port, or IPv6 without brackets
        return text, default_port
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"--listen {text}: {port!r} is not a port")
    return host.strip("[]"), int(port)


def _listen_json(listen: Listen | None) -> dict[str, Any] | None:
    if listen is None:
        return None
    cert, key = (str(p) if p else "" for p in (listen.cert, listen.key))
    return {"address": listen.address, "port": listen.port, "cert": cert, "key": key}


def _secrets(state: State) -> dict[str, str]:
    """Made once per state: passwords of MQTT users, S3 keys, SeaweedFS's four signing keys and its encryption key."""
    known = state.read_json("secrets/secrets.json")
    made = {
        "mqtt": secrets.token_urlsafe(18),
        "device": secrets.token_urlsafe(9),  # a person types it into a board's firmware
        "s3_access": "HR" + secrets.token_hex(8).upper(),
        "s3_secret": secrets.token_urlsafe(30),
        "sse": secrets.token_hex(32),
        "admin": secrets.token_urlsafe(18),
        **{f"sign{n}": secrets.token_urlsafe(32) for n in range(4)},
    }
    out: dict[str, str] = {**made, **known}
    if out != known:
        state.write_json("secrets/secrets.json", out)
    return out
