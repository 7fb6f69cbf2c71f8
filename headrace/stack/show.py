"""How a stack is shown to a person: a table, lines, and what to do next."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.config.find import state_folder
from headrace.contracts.sqlnames import quoted
from headrace.contracts.write import example_topic
from headrace.errors import HeadraceError
from headrace.hub.client import Hub
from headrace.protocol import filters
from headrace.stack.certs import own_address
from headrace.stack.state import State

if TYPE_CHECKING:
    from rich.console import RenderableType

    from headrace.config import Config

_HUB_SECONDS = 3.0
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
        figures = (f.get(k) for k in ("received", "received_rate", "cleaned", "stored", "dead_letters"))
        streams.add_row(name, *(_number(v) for v in figures))
    head = Text(f"Headrace in {snapshot['folder']}: {snapshot['state']}", style="bold")
    parts: list[RenderableType] = [head, services]
    if snapshot.get("streams"):
        parts += ["", streams]
    parts += [Text(f"{n}: {s['message']}", style="dim") for n, s in snapshot["services"].items() if s["message"]]
    ready = {
        n: s for n, s in snapshot["services"].items() if s["state"] == "ready"
    }  # what others lack is their message
    parts += [Text(f"{n}: {p['why']}", style="yellow") for n, s in ready.items() for p in s.get("problems", ())]
    return Group(*parts)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def lines(before: dict[str, str], snapshot: dict[str, Any]) -> list[str]:
    """What changed since `before` (service to state), which is updated: for output that is not a terminal."""
    out = []
    for name, s in snapshot["services"].items():
        now = s["state"] if s["state"] != "crashed" else f"crashed: {s['message']}"
        if before.get(name) != now:
            before[name] = now
            took = f" in {s['start_seconds']:.1f} s" if now == "ready" else ""
            out.append(f"{name}: {now}{took}")
    return out


def command(state: Path) -> str:
    """How to call headrace for that stack, the way this process was called."""
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


def welcome(info: dict[str, Any]) -> str:
    """What runs where, and what to do next."""
    state = Path(info["folder"])
    h = command(state)
    services = info["services"]
    config = State(state).config()
    stream = next(iter(config.streams))
    steps = [
        ("devices add board-01", "a device: prints the command that sends a reading as it"),
        *(
            [("simulate --duration 30", "a fleet of devices, for half a minute")]
            if _SIMULATED & set(config.streams)
            else []
        ),
        (f"tail {stream}", "the readings as they come"),
        (f"query 'select count(*) from {quoted(stream)}'", "the lake, a few seconds later"),  # noqa: S608 - shown, not run
        ("contracts new --help", "your own payload: a contract and a route of what your devices send"),
        ("status", "how everything is; `logs SERVICE` for more, `down` to stop: data stays"),
    ]
    width = max(len(words) for words, _ in steps)
    out = [
        f"Headrace is ready after {info['ready_seconds']:.1f} s.",
        "",
        f"  MQTT         {services['mosquitto']['address']}   (each device with a password of its own)",
        f"  Kafka        {services['kafka']['address']}",
        f"  registry     {services['registry']['address']}",
        f"  S3           {services['store']['address']}",
        f"  HTTP         {services['ingest']['address']}/readings   (POST, with a device's id and password)",
        f"  console      {console(config)}",
        f"  (users and passwords of all of them: {state / 'headrace.yaml'})",
        "",
        "Next:",
        *(f"  {h} {words:<{width}}  {what}" for words, what in steps),
    ]
    if info["listen"]:
        out += ["", network(info)]
    return "\n".join(out)


def console(config: "Config") -> str:
    """The address of hub's pages; where hub answers, as a link that logs in once."""
    url = f"http://{config.hub.serve.host}:{config.hub.serve.port}"
    try:
        path = Hub(config.hub).post("/api/logins", timeout=_HUB_SECONDS)["path"]
    except HeadraceError:
        return f"{url}/"
    return f"{url}{path}   (logs in once, within ten minutes)"


def reading(config: "Config", device: str = "board-01") -> list[str]:
    """Topic and payload of a reading that this configuration accepts, as options of `mosquitto_pub`."""
    streams = {name: route for name, s in config.streams.items() if (route := s.json_route)}
    name = "environment" if "environment" in streams else next(iter(streams), "")
    topic = example_topic(filters.parse(streams[name].filter, name), device) if name else "TOPIC"
    payload = ["-m", '{"temperature": 21.5, "humidity": 40}'] if name == "environment" else ["-f", "sample.json"]
    return ["-t", topic, *payload]


def publish_as(config: "Config", device: str, password: str) -> str:
    """The command that publishes a reading as `device`."""
    host, port = config.mqtt.for_devices
    given = ["-h", host, "-p", port, "-u", device, "-P", password, "-q", "1"]
    return shlex.join(["mosquitto_pub", *given, *reading(config, device)])


def publish_certified(config: "Config", device: str, key: Path, cert: Path, ca: Path | None) -> str:
    """The same with a certificate. `ca`: the file of the broker's authority; None: the system's."""
    trust = ["--cafile", str(ca)] if ca is not None else ["--tls-use-os-certs"]
    assert config.mqtt.devices is not None
    given = [*_at(config.mqtt.devices.certificates), *trust, "--cert", str(cert), "--key", str(key), "-q", "1"]
    return shlex.join(["mosquitto_pub", *given, *reading(config, device)])


def publish_keyed(config: "Config", device: str, key: str) -> str:
    """The same with a key (PSK)."""
    assert config.mqtt.devices is not None
    given = [*_at(config.mqtt.devices.psk), "--psk-identity", device, "--psk", key, "-q", "1"]
    return shlex.join(["mosquitto_pub", *given, *reading(config, device)])


def _at(address: str) -> list[str]:
    host, _, port = address.rpartition(":")
    return ["-h", host, "-p", port]


def network(info: dict[str, Any]) -> str:
    """How a device on the network connects."""
    host, _, port = info["listen"].rpartition(":")
    host = host if host not in {"0.0.0.0", "::"} else own_address()  # noqa: S104 - compared with
    ours = info.get("listen_ca")
    return (
        f"Devices on the network connect with TLS to host {host}, port {port}"
        f"{f', trusting {ours} (mosquitto_pub: --cafile)' if ours else ''}."
    )
