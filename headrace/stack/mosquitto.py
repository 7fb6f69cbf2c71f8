"""Mosquitto, 2.0 or 2.1: found or installed, configured so that what it acknowledged is not lost, and probed."""

import base64
import hashlib
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from headrace.errors import ConfigError, TransientError
from headrace.stack import apt
from headrace.stack.plan import DEVICE_USER, HOST, USER, Plan, Spec

SBIN = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/usr/local/opt/mosquitto/sbin")
# An outage of Kafka must fit into the bridge's queue here; past it messages are dropped, and $SYS counts them.
QUEUE_MESSAGES, QUEUE_BYTES = 1_000_000, 1 << 30
PACKET_BYTES = (16 << 20) + (64 << 10)  # a payload of 16 MiB and its topic
IN_FLIGHT = 20_000  # twice the bridge's receive maximum, so that the bridge's is what counts
ITERATIONS = 101  # mosquitto_passwd's own default; the passwords are random, not guessable


def find() -> Path | None:
    """The broker's binary, on the PATH or where packages put it."""
    on_path = shutil.which("mosquitto") or shutil.which("mosquitto", path=os.pathsep.join(SBIN))
    return Path(on_path) if on_path else None


def obtain(say: Callable[[str], None]) -> Path:
    """The binary, installed with apt where we are root on Debian or Ubuntu; ConfigError with the command elsewhere."""
    found = find()
    if found is None and apt.available():
        say("installing Mosquitto with apt-get")
        # Its own broker would stand on 1883, open on loopback.
        apt.install(("mosquitto", "mosquitto-clients"), units=("mosquitto",))
        found = find()
    if found is None:
        raise ConfigError(
            "Mosquitto, the MQTT broker, is not installed. Debian, Ubuntu: sudo apt-get install mosquitto; "
            "Fedora, RHEL with EPEL: sudo dnf install mosquitto; macOS: brew install mosquitto. Then run this again"
        )
    return found


def version(binary: Path) -> tuple[int, ...]:
    """As `mosquitto -h` says: (2, 0, 11). Empty when it says nothing of the kind."""
    told = subprocess.run([binary, "-h"], capture_output=True, text=True, check=False, timeout=10).stdout
    words = told.split("\n", 1)[0].split()
    number = words[2] if words[:2] == ["mosquitto", "version"] and len(words) > 2 else ""
    return tuple(int(n) for n in number.split(".") if n.isdigit())


def password_line(user: str, password: str) -> str:
    """A line of a password file, in the form 2.0 and 2.1 both read: PBKDF2 over SHA-512."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    return f"{user}:$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


def configuration(plan: Plan) -> str:
    """mosquitto.conf."""
    folder = plan.state.conf
    lines = [
        "per_listener_settings false",
        "allow_anonymous false",
        f"password_file {folder / 'mosquitto.passwords'}",
        f"acl_file {folder / 'mosquitto.acl'}",
        *_listeners(plan),
        # What is queued reaches the disk every second or two, and at SIGTERM. A kill -9 of the broker while the bridge
        # was away took 0.7 s' worth of acknowledged messages (of 60,000 at 5,900/s). Saving every 100 changes takes 99
        # at most, but each save writes the whole queue: 2,300/s and 20 times the CPU time at that length, worse when it
        # is longer; and at one message a second a minute and a half would be lost.
        "persistence true",
        f"persistence_location {plan.state.data / 'mosquitto'}/",
        "autosave_on_changes false",
        "autosave_interval 1",
        f"max_queued_messages {QUEUE_MESSAGES}",
        f"max_queued_bytes {QUEUE_BYTES}",
        f"max_inflight_messages {IN_FLIGHT}",
        f"max_packet_size {PACKET_BYTES}",
        "queue_qos0_messages true",
        "set_tcp_nodelay true",
        "sys_interval 5",
        "log_dest stdout",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
    ]
    if os.geteuid() == 0:
        lines.insert(0, "user root")  # else it becomes another user, who can't read the state folder
    return "\n".join(lines) + "\n"


def access(receipts: str) -> str:
    """The ACL file: devices publish, and hear nothing but receipts, whose topics begin with `receipts`."""
    hear = f"topic read {receipts}#\n" if receipts else ""
    return f"user {USER}\ntopic readwrite #\ntopic read $SYS/#\n\nuser {DEVICE_USER}\ntopic write #\n{hear}"


def _listeners(plan: Plan) -> list[str]:
    port, listen = plan.ports["mqtt"], plan.listen
    out = [f"listener {port} {HOST}"]
    if listen is not None:
        everywhere = listen.address in {"0.0.0.0", "::"}  # noqa: S104 - asked for with --listen
        if everywhere and listen.port == port:
            out = []
        out.append(f"listener {listen.port} {listen.address}")
        if listen.cert is not None:
            out += [f"certfile {listen.cert}", f"keyfile {listen.key}"]
    return out


def spec(plan: Plan, binary: Path) -> Spec:
    """How to run it."""
    folder = plan.state.conf

    def prepare() -> None:
        (plan.state.data / "mosquitto").mkdir(exist_ok=True)
        users = ((USER, plan.secrets["mqtt"]), (DEVICE_USER, plan.secrets["device"]))
        plan.state.write(folder / "mosquitto.passwords", "".join(password_line(u, p) for u, p in users))
        plan.state.write(folder / "mosquitto.acl", access(plan.config.bridge.receipts))
        plan.state.write(folder / "mosquitto.conf", configuration(plan))

    port = plan.ports["mqtt"]
    return Spec(
        name="mosquitto",
        argv=lambda: [str(binary), "-c", str(folder / "mosquitto.conf")],
        address=f"mqtt://{HOST}:{port}",
        prepare=prepare,
        probe=lambda: connect(HOST, port, USER, plan.secrets["mqtt"]),
    )


def connect(host: str, port: int, user: str | None, password: str | None, timeout: float = 2.0) -> None:
    """Connect as a client with a clean session would, and leave. TransientError when that fails, with the reason."""
    code = handshake(host, port, user, password, timeout)
    if code != 0:
        raise TransientError(f"MQTT {host}:{port} refuses the connection: reason code {code:#04x}")


def handshake(host: str, port: int, user: str | None, password: str | None, timeout: float = 2.0) -> int:
    """The reason code of the broker's CONNACK (MQTT 5, section 3.2.2.2). TransientError when there is none."""

    def text(value: str) -> bytes:
        data = value.encode()
        return len(data).to_bytes(2, "big") + data

    flags = 0x02 | (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    body = text("MQTT") + bytes((5, flags)) + (30).to_bytes(2, "big") + b"\0" + text(f"probe-{secrets.token_hex(6)}")
    body += text(user) if user is not None else b""
    body += text(password) if password is not None else b""
    try:
        with socket.create_connection((host, port), timeout=timeout) as s:
            s.sendall(bytes((0x10, len(body))) + body)
            answer = b""
            while len(answer) < 4 and (more := s.recv(256)):
                answer += more
            s.sendall(b"\xe0\x00")
    except OSError as e:
        raise TransientError(f"MQTT {host}:{port}: {e}") from None
    if len(answer) < 4 or answer[0] != 0x20:
        raise TransientError(f"MQTT {host}:{port}: no CONNACK: is something else listening there?")
    return answer[3]
