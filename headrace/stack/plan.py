"""What a stack will be: its ports, secrets and configuration, decided before anything starts."""

import hashlib
import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from headrace.config import Config, check, identities, load
from headrace.config.load import merge, read_yaml
from headrace.config.model import FOR_EVER
from headrace.errors import ConfigError
from headrace.protocol.names import DEVICE_AUDIT, DEVICE_EVENTS
from headrace.runtime.sockets import listening
from headrace.stack import certs, ports
from headrace.stack.state import State

# Ports that people use. Each may be set with --port NAME=NUMBER.
# mqtt, mqtt.websockets, mqtt.certificates, mqtt.psk: devices, by password (two), certificate, key. mqtt.services: ours.
# Mosquitto finds the rights of a session that it has saved by the port of its listener, so that one must not change by
# itself.
DEFAULT_PORTS = {
    "mqtt": 1883, "mqtt.services": 1884, "mqtt.certificates": 8884, "mqtt.psk": 8885, "mqtt.websockets": 9001,
    "kafka": 9092, "registry": 8081, "s3": 8333, "hub": 8090, "hub.tls": 8092, "ingest": 8091,
    "ingest.tls": 8093,
}  # fmt: skip
# Ports that only the stack itself uses: any free one, kept from one start to the next.
INNER_PORTS = (
    "kafka.controller", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer",
    "filer.grpc", "admin", "admin.grpc", "bridge.http", "clean.http", "archive.http", "hub.http", "agent.http",
    "ingest.http", "derive.http", "compact.http",
)  # fmt: skip
WATCHED = tuple(name.removesuffix(".http") for name in INNER_PORTS if name.endswith(".http"))
CONNECTIONS = ("mqtt", "kafka", "registry", "store", "hub")
# Someone who tries the stack wants to see a reading in the lake at once, even if this makes small files.
HASTE = {"idle_seconds": 2, "max_age_seconds": 10}
DEFAULT_CONFIG: dict[str, Any] = {
    "streams": {
        "imu": {"routes": ["sensors/{device_id}/imu"], "files": True},
        **{name: {"routes": [f"sensors/{{device_id}}/{name}"]} for name in ("environment", "vibration")},
    },
    "bridge": {"unrouted": ["sensors/#"]},
}
HUB_STREAMS: dict[str, Any] = {DEVICE_EVENTS: {"partitions": 1}, DEVICE_AUDIT: {"partitions": 1}}
USER, HOST = "headrace", "127.0.0.1"
TLS_PORT = 8883


class Listen(NamedTuple):
    """A second MQTT listener, for devices on the network, with TLS."""

    address: str
    port: int
    cert: Path
    key: Path


@dataclass(frozen=True)
class Wishes:
    """The options of `headrace up`; None means as last time."""

    config: Path | None = None
    ports: dict[str, int] = field(default_factory=dict)
    auto_ports: bool = False
    listen: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


@dataclass(frozen=True)
class StackPlan:
    """A stack that may be started: `ports` by the names above, `secrets` by name, and notes to show."""

    state: State
    ports: dict[str, int]
    secrets: dict[str, str]
    config: Config
    config_path: Path | None
    listen: Listen | None
    notes: tuple[str, ...] = ()

    @property
    def certified(self) -> dict[str, tuple[str, ...]]:
        """The servers that have a certificate of ours, with the names and addresses in it."""
        return certs.wanted(self.listen.address if self.listen else None)

    @property
    def devices_ca(self) -> Path:
        """The authority that signs the certificates of devices."""
        return self.state.certs / certs.DEVICES / f"{certs.CA}.pem"

    @property
    def listen_ca(self) -> Path | None:
        """The authority that devices need to know; None without `listen`, and where its certificate is the user's."""
        ours = self.listen is not None and self.listen.cert.parent == self.state.certs
        return self.state.certs / f"{certs.CA}.pem" if ours else None


@dataclass(frozen=True)
class Spec:
    """How to run one service. `probe` raises HeadraceError until it serves; then `provide` is called, each time."""

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


def make(state: State, wishes: Wishes) -> StackPlan:
    """The plan, written to the state folder: settings, secrets and headrace.yaml.

    Raises ConfigError, naming holder and remedy, when a port is in use, and for a configuration with wrong keys or
    values. Call it only after `check_config`, and while no process of this stack runs.
    """
    # Whatever may be refused is looked at before anything is written.
    known = state.read_json("settings.json")
    config_path = _config_path(known, wishes)
    notes: list[str] = []
    chosen = _ports(known, wishes, notes)
    listen = _listen(state, known.get("listen"), wishes, chosen)
    state.create()
    done = certs.keep(state.certs, certs.wanted(listen.address if listen else None))
    notes += [f"certificate of {words}" for words in done if not words.endswith(": made")]
    made = _planned(state, config_path, chosen, listen, notes)
    keep(made)
    return made


def again(state: State, wishes: Wishes) -> StackPlan:
    """The plan of a stack that runs, with its ports and the user's configuration as it is now. Writes nothing.

    ConfigError with each problem of the configuration.
    """
    check_config(state, wishes)
    known = state.read_json("settings.json")
    listen = _listen(state, known.get("listen"), Wishes(), known["ports"])
    return _planned(state, _config_path(known, wishes), known["ports"], listen, [])


def keep(made: StackPlan) -> None:
    """Write settings and headrace.yaml: what `load_made` and the services read."""
    listen, path = _listen_json(made.listen), str(made.config_path or "")
    made.state.write_json("settings.json", {"ports": made.ports, "listen": listen, "config": path})
    made.state.write_config(made.config)


def _planned(
    state: State, config_path: Path | None, chosen: dict[str, int], listen: Listen | None, notes: list[str]
) -> StackPlan:
    secret = _secrets(state)
    base = merge(_base(config_path, notes), _hub_streams(config_path))
    laid = merge(base, connections(chosen, secret, state, listen))
    config = _dropping(state, load(config_path, without=CONNECTIONS, over=laid))
    return StackPlan(state, chosen, secret, config, config_path, listen, tuple(notes))


def _dropping(state: State, config: Config) -> Config:
    """`config`, with the filters that the bridge's session has from the state's configurations before this one."""
    if not state.exists:
        return config
    before = state.config()
    had, wanted = ({*identities.filters_of(c)} for c in (before, config))
    dropped = sorted({*had, *before.bridge.dropped, *config.bridge.dropped} - wanted)
    return config.model_copy(update={"bridge": config.bridge.model_copy(update={"dropped": tuple(dropped)})})


def check_config(state: State, wishes: Wishes) -> Config:
    """The configuration that `make` would use. ConfigError with each problem of it. Writes nothing."""
    path = _config_path(state.read_json("settings.json"), wishes)
    config = load(path, over=_base(path, []))
    check.require(config, path=path)
    return config


def load_made(state: State) -> StackPlan:
    """The plan that `make` wrote."""
    known = state.read_json("settings.json")
    path = Path(known["config"]) if known.get("config") else None
    listen = _listen(state, known.get("listen"), Wishes(), known["ports"])
    return StackPlan(state, known["ports"], _secrets(state), load(state.config_file, environ={}), path, listen)


def connections(
    chosen: dict[str, int], secret: dict[str, str], state: State, listen: Listen | None = None
) -> dict[str, Any]:
    """The addresses, users and secrets of the stack itself, which replace those of any configuration."""
    # Mosquitto 2.0.11 forgets the session of a client id that somebody gives without a user name, at any listener.
    session = hashlib.sha256(f"session {secret['mqtt']}".encode()).hexdigest()[:24]
    # And it may crash over sessions that can end: docs/broker.md.
    bridge = {"client_id": f"headrace-bridge-{session}", "session_expiry_seconds": FOR_EVER}
    tls = {
        "host": listen.address if listen else HOST,
        "cert_file": str(state.certs / f"{certs.HUB}.pem"), "key_file": str(state.certs / f"{certs.HUB}.key"),
    }  # fmt: skip
    ingest = {"host": HOST, "port": chosen["ingest"], "tls": {**tls, "port": chosen["ingest.tls"]}}
    return {
        "mqtt": {
            "host": HOST, "port": chosen["mqtt.services"], "username": USER, "password": secret["mqtt"],
            "devices": {
                "host": HOST, "port": chosen["mqtt"], "certificates": f"{HOST}:{chosen['mqtt.certificates']}",
                "psk": f"{HOST}:{chosen['mqtt.psk']}", "ca_file": str(state.certs / f"{certs.CA}.pem"),
            },
        },
        "kafka": {
            "bootstrap": f"{HOST}:{chosen['kafka']}",
            "sasl": {"mechanism": "PLAIN", "username": USER, "password": secret["kafka"]},
        },
        "registry": {
            "url": f"http://{HOST}:{chosen['registry']}/apis/ccompat/v7",
            "username": USER,
            "password": secret["registry"],
        },
        "store": {
            "kind": "s3", "endpoint": f"{HOST}:{chosen['s3']}",
            "access_key": secret["s3_access"], "secret_key": secret["s3_secret"], "sse": {"kind": "s3"},
        },
        **{
            name: {"http": {"host": HOST, "port": chosen[f"{name}.http"], "token": secret["metrics"]}, **more}
            for name, more in (
                ("bridge", bridge), ("ingest", ingest), ("clean", {}), ("derive", {}), ("archive", {}), ("compact", {})
            )
        },
        "hub": {
            "url": f"https://{_reached(listen)}:{chosen['hub.tls']}", "token": secret["hub_admin"],
            "tls": {"ca_file": str(state.certs / f"{certs.CA}.pem")},
            "serve": {
                "tls": {**tls, "port": chosen["hub.tls"]},
                "hosts": list(certs.names(listen.address if listen else None)),
                "host": HOST, "port": chosen["hub"], "database": f"sqlite:///{state.data / 'hub' / 'hub.sqlite'}",
                "admin_token": secret["hub_admin"], "broker_token": secret["hub_broker"],
                "http": {"host": HOST, "port": chosen["hub.http"], "token": secret["metrics"]},
                "watch": {name: f"http://{HOST}:{chosen[f'{name}.http']}" for name in WATCHED},
                "devices_ca": {
                    f"{what}_file": str(state.certs / certs.DEVICES / f"{certs.CA}.{kind}")
                    for what, kind in (("cert", "pem"), ("key", "key"))
                },
            },
        },
    }  # fmt: skip


def _reached(listen: Listen | None) -> str:
    """The address at which this machine reaches what listens for the network too."""
    everywhere = listen is None or listen.address in {"0.0.0.0", "::"}  # noqa: S104 - compared with
    return HOST if everywhere or listen is None else listen.address


def _config_path(known: dict[str, Any], wishes: Wishes) -> Path | None:
    """The user's configuration: the one asked for, else that of last time (`known` is settings.json)."""
    return wishes.config or (Path(known["config"]) if known.get("config") else None)


def _base(path: Path | None, notes: list[str]) -> dict[str, Any]:
    """What is laid over the user's file: the archive's haste, and the default streams when there is no file."""
    if path is None:
        return {**DEFAULT_CONFIG, "archive": HASTE}
    data = read_yaml(path)
    own = [name for name in CONNECTIONS if name in data]
    if own:
        notes.append(f"{path}: {', '.join(own)} not used: the local stack has its own")
    return {"archive": {k: v for k, v in HASTE.items() if k not in (data.get("archive") or {})}}


def _hub_streams(path: Path | None) -> dict[str, Any]:
    """The streams in which hub tells what happens, where the user's file has none of that name."""
    given = (read_yaml(path).get("streams") or {}) if path is not None else {}
    return {"streams": {name: settings for name, settings in HUB_STREAMS.items() if name not in given}}


def _ports(known: dict[str, Any], wishes: Wishes, notes: list[str]) -> dict[str, int]:
    before: dict[str, int] = known.get("ports", {})
    for name in wishes.ports:
        if name not in DEFAULT_PORTS:
            raise ConfigError(f"--port {name}: not one of {', '.join(DEFAULT_PORTS)}")
    out: dict[str, int] = {}
    taken: set[int] = set(before.values()) | set(wishes.ports.values())
    problems: dict[int, str] = {}
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
        who = held_by or "a process of another user"
        problems[port] = f"port {port} ({name}) is in use by {who}. {ports.remedy(name, held_by)}"
    if problems:
        if other := ports.stack_on(problems):
            raise ConfigError(
                f"another Headrace stack runs, in {other}, on ports that this one needs. Stop it with "
                f"`headrace --state {shlex.quote(other)} down`, or let Headrace choose free ports: {ports.auto()}"
            )
        raise ConfigError("\n".join(problems.values()))
    for name in INNER_PORTS:
        port = before.get(name, 0)
        out[name] = port if port and not ports.in_use(port) else ports.free(taken)
    return out


def _listen(state: State, before: dict[str, Any] | None, wishes: Wishes, chosen: dict[str, int]) -> Listen | None:
    """`ADDR` or `ADDR:PORT`; `off` forgets what was asked for last time. The certificate is ours unless given."""
    own = state.certs / f"{certs.MQTT}.pem", state.certs / f"{certs.MQTT}.key"
    if wishes.listen is None and before and not (wishes.tls_cert or wishes.tls_key):
        files = [Path(before[k]) if before.get(k) else ours for k, ours in zip(("cert", "key"), own, strict=True)]
        port = before["port"] if before["port"] != chosen["mqtt"] else TLS_PORT  # that one is without TLS
        return Listen(before["address"], port, files[0], files[1])
    if wishes.listen in {None, "", "off"}:
        if wishes.tls_cert or wishes.tls_key:
            raise ConfigError("--tls-cert and --tls-key need --listen, with the address")
        return None
    if (wishes.tls_cert is None) != (wishes.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key: give both")
    for path in (wishes.tls_cert, wishes.tls_key):
        if path is not None and not path.is_file():
            raise ConfigError(f"{path}: no such file")
    address, port = _address(wishes.listen or "", TLS_PORT)
    given = (wishes.tls_cert.absolute(), wishes.tls_key.absolute()) if wishes.tls_cert and wishes.tls_key else own
    listen = Listen(address, port, *given)
    if port == chosen["mqtt"]:
        raise ConfigError(
            f"--listen: port {port} is the port of the listener without TLS on {HOST}. Give another for TLS, as 8883"
        )
    try:
        busy = ports.in_use(port, address)
    except OSError as e:
        raise ConfigError(f"--listen {address}: not an address of this machine ({e.strerror or e})") from None
    if busy:
        held_by = ports.holder(port)
        if not held_by and not listening(port, address):
            raise ConfigError(
                f"--listen {address}: can't listen there. Is it an address of this machine (`ip address`)?"
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
    return {"address": listen.address, "port": listen.port, "cert": str(listen.cert), "key": str(listen.key)}


def _secrets(state: State) -> dict[str, str]:
    """Secrets, made once for a state: passwords of the users of MQTT, Kafka and the registry, tokens (of hub, for
    metrics), S3 keys, SeaweedFS's four signing keys and encryption key.
    """
    known = state.read_json("secrets/secrets.json")
    made = {
        "mqtt": secrets.token_urlsafe(18),
        "kafka": secrets.token_urlsafe(24),
        "kafka_broker": secrets.token_urlsafe(24),
        "registry": secrets.token_urlsafe(24),
        "metrics": secrets.token_urlsafe(24),
        "s3_access": "HR" + secrets.token_hex(8).upper(),
        "s3_secret": secrets.token_urlsafe(30),
        "sse": secrets.token_hex(32),
        "hub_admin": secrets.token_urlsafe(32),
        "hub_broker": secrets.token_urlsafe(32),
        **{f"sign{n}": secrets.token_urlsafe(32) for n in range(4)},
    }
    out: dict[str, str] = {**made, **known}
    if out != known:
        state.write_json("secrets/secrets.json", out)
    return out
