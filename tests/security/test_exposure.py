"""EN 303 645 5.5, IEC 62443-4-2 CR 3.5 and 4.1: what another user of the machine, or the network, reaches."""

import os
import random
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from headrace.hub import lending
from headrace.hub.client import Hub
from headrace.operate import mqttprobe
from headrace.stack import mosquitto, plan, ports, process
from headrace.stack.state import State
from tests import ownports, stranger
from tests.integration.test_closed_store import anything
from tests.integration.test_listen import CONNACK, CONNECT, outdated
from tests.stack import Stack
from tests.waiting import stop_process, until

pytestmark = pytest.mark.integration

LISTENING, UDP_UNCONNECTED = "0A", "07"  # states of /proc/net
GARBAGE = 12  # messages to each port


@pytest.fixture
def native(stack: Stack) -> Stack:
    if not stack.native or not Path("/proc/net/tcp").exists():
        pytest.skip("looks at this machine's processes, on Linux; tests/compose looks at containers")
    return stack


def processes(native: Stack) -> list[int]:
    """All of the stack: its servers, its services, and what supervises them."""
    return [int(State(native.state).info()["supervisor"]["pid"]), *(p.pid for p in process.marked(native.state))]


def sockets_of(pids: list[int]) -> set[str]:
    """The inodes of their sockets."""
    found = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                target = entry.readlink().name
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def open_doors(pids: list[int]) -> Iterator[tuple[str, int]]:
    """Address and port of each socket of theirs that takes what comes from others: TCP and UDP."""
    ours = sockets_of(pids)
    for kind, state in (("tcp", LISTENING), ("tcp6", LISTENING), ("udp", UDP_UNCONNECTED), ("udp6", UDP_UNCONNECTED)):
        for fields in (line.split() for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]):
            if fields[3] == state and fields[9] in ours:
                text, _, port = fields[1].partition(":")
                words = [bytes.fromhex(text[n : n + 8])[::-1] for n in range(0, len(text), 8)]  # little-endian
                address = ip_address(b"".join(words))
                mapped = getattr(address, "ipv4_mapped", None)
                yield str(mapped or address), int(port, 16)


@pytest.mark.clause("EN 5.5-1")
@pytest.mark.lane("own-2")
def test_no_process_of_the_stack_listens_beyond_this_machine(native: Stack) -> None:
    doors = set(open_doors(processes(native)))
    ports_of = native.json("status", "--json")["ports"]
    ports_of.pop("mqtt.websockets", None)  # not every Mosquitto has that
    assert not spoken(ports_of["hub.tls"], outdated()).startswith("TLS")  # it hangs up without an alert
    assert spoken(ports_of["hub.tls"], anything()) in {"TLSv1.2", "TLSv1.3"}
    known = set(ports_of.values())
    assert known - {port for _, port in doors} == set(), "the test does not see all"
    assert [door for door in doors if not ip_address(door[0]).is_loopback] == []


def spoken(port: int, client: ssl.SSLContext) -> str:
    """The version of TLS that a client gets, or "refused" where TLS itself says so."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, client.wrap_socket(plain) as one:
            return str(one.version())
    except (ssl.SSLError, ConnectionError) as e:
        return "refused" if "alert" in str(e).lower() else str(e)


@pytest.mark.clause("EN 5.5-1")
def test_what_is_opened_to_the_network_speaks_tls_alone(tmp_path: Path) -> None:
    """`headrace up --listen`: each door beyond loopback is one of TLS; test_old_tls_and_no_tls_are_refused tries it."""
    binary = mosquitto.find()
    if binary is None or not Path("/proc/net/tcp").exists():
        pytest.skip("needs Mosquitto, and Linux")
    listen = f"0.0.0.0:{ports.free(set())}"
    made = plan.make(State(tmp_path / "state"), ownports.wishes(listen=listen))
    assert made.listen is not None
    spec = mosquitto.spec(made, binary)
    spec.prepare()
    with (tmp_path / "log").open("wb") as log:
        started = process.launch(spec.argv(), {**os.environ, **spec.env}, made.state.tmp, log)
    try:
        until(lambda: len(set(open_doors([started.pid]))) > 4, 20, (tmp_path / "log").read_text)
        beyond = [port for address, port in open_doors([started.pid]) if not ip_address(address).is_loopback]
        assert made.listen.port in beyond
        for port in beyond:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
                plain.sendall(CONNECT)
                with suppress(ConnectionResetError):
                    assert plain.recv(1) != CONNACK
            assert spoken(port, outdated()) == "refused"
            keys = port == made.ports["mqtt.psk"]  # who has none of them is refused before anything is said
            assert spoken(port, anything()) in ({"refused"} if keys else {"TLSv1.2", "TLSv1.3"})
    finally:
        stop_process(started, 10)


@pytest.mark.clause("CR 4.1")
@pytest.mark.lane("own-2")
def test_another_user_reads_no_file_and_no_environment(native: Stack) -> None:
    if os.geteuid() != 0:
        pytest.skip("to become another user takes root")
    secret = [f"/proc/{pid}/{name}" for pid in processes(native) for name in ("environ", "maps", "fd")]
    files = [str(p) for p in native.state.rglob("*") if p.is_file() and "data/kafka" not in str(p)]
    assert {"secrets.json", "headrace.yaml", "hub.sqlite", "ca.key"} <= {Path(f).name for f in files}
    found = stranger.tries("read", "/etc/passwd", str(native.state), *secret, *files)
    assert found.pop("/etc/passwd"), "else it would prove nothing"
    assert {path: text for path, text in found.items() if text} == {}


@pytest.mark.clause("CR 4.1")
@pytest.mark.lane("own-2")
def test_a_device_s_password_stands_in_no_log_and_is_kept_as_a_hash(native: Stack) -> None:
    name = f"quiet-{time.time_ns():x}"
    words = [native.json("devices", "add", name, "--json")["password"]]
    words.append(native.json("devices", "rotate", name, "--json")["password"])
    door = native.config().mqtt.as_device("", "")
    assert [mqttprobe.handshake(door.host, door.port, name, word, 10.0) == 0 for word in words] == [False, True]
    native.run("devices", "revoke", name, "--yes")
    kept = [p for p in native.state.rglob("*") if p.is_file() and ("logs" in p.parts or "hub" in p.parts)]
    assert {"hub.sqlite", "hub.log", "mosquitto.log", "agent.log"} <= {p.name for p in kept}
    assert [p for p in kept for word in words if word.encode() in p.read_bytes()] == []
    assert not any(word.encode() in (native.state / "conf" / "devices.passwords").read_bytes() for word in words)


@pytest.mark.clause("CR 3.5")
@pytest.mark.lane("own-2")
def test_garbage_at_every_port_stops_nothing(native: Stack) -> None:
    before = {name: service["pid"] for name, service in native.services().items()}
    name = f"calm-{time.time_ns():x}"
    word = lending.passwords(Hub(native.config().hub), [name])[name]
    dice = random.Random(5)
    for port in native.json("status", "--json")["ports"].values():
        for n in range(GARBAGE):
            noise = (CONNECT, b"GET / HTTP/1.1\r\nHost: ", b"\x16\x03\x01", b"\x10\xff\xff\xff\x7f", b"")[n % 5]
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as s:
                s.sendall(noise + dice.randbytes(dice.choice((1, 40, 3000))))
                s.settimeout(0.05)
                s.recv(64)
    door = native.config().mqtt.as_device("", "")
    assert mqttprobe.handshake(door.host, door.port, name, word, 10.0) == 0
    native.wait_ready(30)
    assert {name: service["pid"] for name, service in native.services().items()} == before
