"""Mosquitto, 2.0 or 2.1: found or installed, configured so that what it acknowledged is not lost, and probed."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from headrace.errors import ConfigError
from headrace.operate import brokercerts, brokerfiles, mqttaccess
from headrace.operate.mqttprobe import connect
from headrace.operate.mqttusers import password_line
from headrace.stack import apt, certs
from headrace.stack.plan import HOST, USER, Spec, StackPlan

SBIN = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/usr/local/opt/mosquitto/sbin")
# The bridge's queue in the broker must have room for an outage of Kafka: when it is full, messages are dropped, and
# $SYS counts them.
QUEUE_MESSAGES, QUEUE_BYTES = 1_000_000, 1 << 30
TOPIC_BYTES = 64 << 10  # of a packet beside the payload
IN_FLIGHT = 20_000  # twice the bridge's receive maximum, so that the bridge's limit counts
CONNECTIONS = 10_000  # of devices, at each of their listeners: those of the services must find room beside them
DESCRIPTORS = 2 * CONNECTIONS + 1_000
WITH_LOOPBACK = {"0.0.0.0", HOST, "localhost"}  # noqa: S104 - where it is asked for with --listen
KEEPALIVE_SECONDS = 3600  # a connection that is gone without a word holds its place for one and a half times as long


def find() -> Path | None:
    """The broker's binary, on the PATH or where packages put it."""
    on_path = shutil.which("mosquitto") or shutil.which("mosquitto", path=os.pathsep.join(SBIN))
    return Path(on_path) if on_path else None


def obtain(say: Callable[[str], None]) -> Path:
    """The binary, installed with apt when we are root on Debian or Ubuntu. Elsewhere ConfigError with the command."""
    found = find()
    if found is None and apt.available():
        say("installing Mosquitto with apt-get")
        # The package's own broker would listen on 1883, open to every user of this machine.
        apt.install(("mosquitto", "mosquitto-clients"), units=("mosquitto",))
        found = find()
    if found is None:
        raise ConfigError(
            "Mosquitto, the MQTT broker, is not installed. Debian, Ubuntu: sudo apt-get install mosquitto "
            "mosquitto-clients; Fedora, RHEL with EPEL: sudo dnf install mosquitto; macOS: brew install mosquitto. "
            "Then run this again"
        )
    return found


def version(binary: Path) -> tuple[int, ...]:
    """The version in the output of `mosquitto -h`, as (2, 0, 11). Empty when there is none."""
    told = subprocess.run([binary, "-h"], capture_output=True, text=True, check=False, timeout=10).stdout
    words = told.split("\n", 1)[0].split()
    number = words[2] if words[:2] == ["mosquitto", "version"] and len(words) > 2 else ""
    return tuple(int(n) for n in number.split(".") if n.isdigit())


def has_websockets(binary: Path) -> bool:
    """Whether it serves MQTT over WebSockets: 2.1 does. Debian's 2.0.11 does not start when it is told to."""
    return version(binary) >= (2, 1)


def configuration(plan: StackPlan, *, websockets: bool = True) -> str:
    """The text of mosquitto.conf: limits for all, then the listeners, each with its own users and rights."""
    lines = [
        "per_listener_settings true",
        # The queue reaches the disk every second or two, and at SIGTERM. A kill -9 of the broker while the bridge
        # was away took 0.7 s' worth of acknowledged messages (of 60,000 at 5,900/s). Saving every 100 changes takes 99
        # at most, but each save writes the whole queue: 2,300/s and 20 times the CPU time at that length, worse when it
        # is longer; and at one message a second a minute and a half would be lost.
        "persistence true",
        f"persistence_location {plan.state.data / 'mosquitto'}/",
        f"pid_file {plan.state.tmp / brokerfiles.PID}",  # the agent beside it signals it
        "autosave_on_changes false",
        "autosave_interval 1",
        f"max_queued_messages {QUEUE_MESSAGES}",
        f"max_queued_bytes {QUEUE_BYTES}",
        f"max_inflight_messages {IN_FLIGHT}",
        f"max_packet_size {plan.config.bridge.max_payload_bytes + TOPIC_BYTES}",
        f"max_keepalive {KEEPALIVE_SECONDS}",
        "queue_qos0_messages true",
        "set_tcp_nodelay true",
        "sys_interval 5",
        "log_dest stdout",
        "log_dest topic",  # for the agent, which also counts subscriptions
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_type subscribe",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        *_listeners(plan, websockets=websockets),
    ]
    if os.geteuid() == 0:
        lines.insert(0, "user root")  # else it becomes another user, who can't read the state folder
    return "\n".join(lines) + "\n"


# The text of the services' access file. When Mosquitto starts, and is then told to read its files again, it takes the
# rights of users, but not patterns, from the sessions of clients that have not come back: it would keep no message for
# a bridge that is away.
SERVICES_ACCESS = f"pattern read #\n\nuser {USER}\ntopic readwrite #\ntopic read $SYS/#\n"


def _listeners(plan: StackPlan, *, websockets: bool) -> list[str]:
    folder, listen = plan.state.conf, plan.listen

    def users(kind: str) -> list[str]:
        files = f"password_file {folder / f'{kind}.passwords'}", f"acl_file {folder / f'{kind}.acl'}"
        return ["allow_anonymous false", *files]

    devices = ["use_username_as_clientid true", f"max_connections {CONNECTIONS}"]
    passwords = [*users("devices"), *devices]
    out = [f"listener {plan.ports['mqtt.services']} {HOST}", *users("services")]
    out += [f"listener {plan.ports['mqtt']} {HOST}", *passwords]
    if listen is not None:
        out += [f"listener {listen.port} {listen.address}", *passwords, *_server(listen.cert, listen.key)]
    if websockets:
        port = plan.ports["mqtt.websockets"]
        if listen is None or listen.address not in WITH_LOOPBACK:
            out += [f"listener {port} {HOST}", "protocol websockets", *passwords]
        if listen is not None:
            secured = _server(listen.cert, listen.key)
            out += [f"listener {port} {listen.address}", "protocol websockets", *passwords, *secured]
    own = [f"acl_file {folder / brokerfiles.ACCESS}", "use_identity_as_username true", *devices]
    asks = ["require_certificate true", f"cafile {plan.devices_ca}", f"crlfile {folder / brokercerts.CRL}"]
    for address, cert, key in _addresses(plan):
        out += [f"listener {plan.ports['mqtt.certificates']} {address}", *_server(cert, key), *asks, *own]
        out += [f"listener {plan.ports['mqtt.psk']} {address}", "psk_hint headrace"]
        out += [f"psk_file {folder / brokerfiles.PSKS}", "tls_version tlsv1.2", *own]
    return out


def _addresses(plan: StackPlan) -> list[tuple[str, Path, Path]]:
    """Where the listeners for certificates and keys are, each with the certificate that it shows."""
    ours = plan.state.certs / f"{certs.MQTT}.pem", plan.state.certs / f"{certs.MQTT}.key"
    listen = plan.listen
    if listen is None:
        return [(HOST, *ours)]
    network = (listen.address, listen.cert, listen.key)
    return [network] if listen.address in WITH_LOOPBACK else [(HOST, *ours), network]


def _server(cert: Path, key: Path) -> list[str]:
    return [f"certfile {cert}", f"keyfile {key}", "tls_version tlsv1.2"]


def spec(plan: StackPlan, binary: Path) -> Spec:
    """How to run it."""
    folder = plan.state.conf

    def prepare() -> None:
        _allow_connections()
        (plan.state.data / "mosquitto").mkdir(exist_ok=True)
        plan.state.write(folder / "services.passwords", password_line(USER, plan.secrets["mqtt"]))
        plan.state.write(folder / "services.acl", SERVICES_ACCESS)
        for name in (brokerfiles.PASSWORDS, brokerfiles.PSKS):
            if not (folder / name).is_file():
                plan.state.write(folder / name, "")  # the agent fills it: no device gets in before
        brokercerts.prepare(folder, plan.devices_ca)
        plan.state.write(folder / brokerfiles.ACCESS, mqttaccess.renewed(plan.config, folder / brokerfiles.ACCESS))
        text = configuration(plan, websockets=has_websockets(binary))
        plan.state.write(folder / "mosquitto.conf", text)

    port = plan.ports["mqtt.services"]
    return Spec(
        name="mosquitto",
        argv=lambda: [str(binary), "-c", str(folder / "mosquitto.conf")],
        address=f"mqtt://{HOST}:{plan.ports['mqtt']}",
        prepare=prepare,
        probe=lambda: connect(HOST, port, USER, plan.secrets["mqtt"]),
    )


def _allow_connections() -> None:
    """Raise this process's limit of open files, which the broker inherits, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
