"""How a stack looks to a person: a table, lines, and what to do next."""

import os
import shlex
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace import filters
from headrace.config.find import state_folder
from headrace.contracts.write import example_topic
from headrace.stack.plan import DEVICE_USER
from headrace.stack.state import State

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headrace.config import Config

_SIMULATED = {"imu", "environment", "vibration"}  # what `headrace simulate` has models of
_COLOURS = {"ready": "green", "failed": "red", "crashed": "red", "not ready": "yellow", "stopped": "dim"}


def table(snapshot: dict[str, Any]) -> "RenderableType":
    """Services, then streams, for rich."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    services = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("service", "state", "address"):
        services.add_column(name, no_wrap=True)
    for name in ("readings/s", "lag", "restarts"):
        services.add_column(name, justify="right")
    for name, s in snapshot["services"].items():
        services.add_row(
            name,
            Text(s["state"], style=_COLOURS.get(s["state"], "cyan")),
            s["address"],
            _number(s.get("readings_per_second")),
            _number(s.get("lag")),
            str(s["restarts"] or ""),
        )
    streams = Table(box=None, pad_edge=False, header_style="bold")
    streams.add_column("stream")
    for name in ("received", "readings/s", "cleaned", "stored", "dead letters"):
        streams.add_column(name, justify="right")
    for name, f in sorted(snapshot.get("streams", {}).items()):
        figures = (f.get(k) for k in ("bridge", "bridge_rate", "clean", "archive", "dead_letters"))
        streams.add_row(name, *(_number(v) for v in figures))
    head = Text(f"Headrace in {snapshot['folder']}: {snapshot['state']}", style="bold")
    parts: list[RenderableType] = [head, services]
    if snapshot.get("streams"):
        parts += ["", streams]
    parts += [Text(f"{n}: {s['message']}", style="dim") for n, s in snapshot["services"].items() if s["message"]]
    return Group(*parts)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def lines(before: dict[str, str], snapshot: dict[str, Any]) -> list[str]:
    """What changed since `before` (service to state), which is brought up to date: for output that is no terminal."""
    out = []
    for name, s in snapshot["services"].items():
        now = s["state"] if s["state"] != "crashed" else f"crashed: {s['message']}"
        if before.get(name) != now:
            before[name] = now
            took = f" in {s['start_seconds']:.1f} s" if now == "ready" else ""
            out.append(f"{name}: {now}{took}")
    return out


def command(state: Path) -> str:
    """How this person calls headrace for that stack."""
    called = Path(sys.argv[0])
    own = Path(sys.executable).parent / "headrace"
    words = ["headrace"]
    if called.name != "headrace":
        words = [sys.executable, "-m", "headrace"] if not own.is_file() else [_short(own)]
    elif (found := shutil.which("headrace")) is None or Path(found).resolve() != called.resolve():
        words = [_short(called)]
    if state != state_folder():
        words += ["--state", str(state)]
    return shlex.join(words)


def _short(path: Path) -> str:
    here = os.path.relpath(path)
    return str(path) if here.startswith("..") else here


def welcome(info: dict[str, Any], device_password: str) -> str:
    """What runs where, and what to do next."""
    state = Path(info["folder"])
    h = command(state)
    services = info["services"]
    config = State(state).config()
    stream = next(iter(config.streams))
    steps = [
        *(
            [("simulate --duration 30", "a fleet of devices, for half a minute")]
            if _SIMULATED & set(config.streams)
            else []
        ),
        (f"tail {stream}", "its readings as they come"),
        (f"query 'select count(*) from {stream}'", "the lake, a few seconds later"),  # noqa: S608 - shown, not run
        ("status", "how everything is; `logs SERVICE` for more, `down` to stop: data stays"),
    ]
    width = max(len(words) for words, _ in steps)
    out = [
        f"Headrace is ready after {info['ready_seconds']:.1f} s.",
        "",
        f"  MQTT         {services['mosquitto']['address']}   (user and password: {state / 'headrace.yaml'})",
        f"  Kafka        {services['kafka']['address']}",
        f"  registry     {services['registry']['address']}",
        f"  S3           {services['store']['address']}",
        f"  status page  {info['page']}",
        "",
        "Next:",
        *(f"  {h} {words:<{width}}  {what}" for words, what in steps),
    ]
    if info["listen"]:
        return "\n".join([*out, "", *network(info, device_password, reading(config))])
    host, _, port = services["mosquitto"]["address"].removeprefix("mqtt://").rpartition(":")
    out += ["", "A reading of your own:", f"  {_publish(host, port, device_password, *reading(config))}"]
    return "\n".join(out)


def reading(config: "Config") -> list[str]:
    """Topic and payload of a reading that this configuration takes, as `mosquitto_pub` wants them."""
    streams = {name: s.routes[0] for name, s in config.streams.items() if s.routes}
    name = "environment" if "environment" in streams else next(iter(streams), "")
    topic = example_topic(filters.parse(streams[name].filter, name), "board-01") if name else "TOPIC"
    payload = ["-m", '{"temperature": 21.5, "humidity": 40}'] if name == "environment" else ["-f", "sample.json"]
    return ["-t", topic, *payload]


def _publish(host: str, port: str, password: str, *more: str) -> str:
    return shlex.join(["mosquitto_pub", "-h", host, "-p", port, "-u", DEVICE_USER, "-P", password, "-q", "1", *more])


def network(info: dict[str, Any], device_password: str, example: list[str]) -> list[str]:
    """How a device on the network connects, and how to send the reading `example`."""
    host, _, port = info["listen"].rpartition(":")
    host = host if host not in {"0.0.0.0", "::"} else own_address()  # noqa: S104 - compared with
    tls = info.get("listen_tls")
    line = _publish(host, port, device_password, *(["--cafile", "CA.pem"] if tls else []), *example)
    out = [
        f"Devices connect to host {host}, port {port}, user {DEVICE_USER}, password {device_password}. To try it:",
        f"  {line}",
    ]
    if not tls:
        out.append(
            "  (without TLS, who can listen on that network can read password and readings: --tls-cert, --tls-key)"
        )
    return out


def own_address() -> str:
    """This machine's address on the network that its default route is on; its name where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))  # nothing is sent
            return str(s.getsockname()[0])
        except OSError:
            return socket.gethostname()
