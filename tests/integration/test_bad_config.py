"""What a person has got wrong: exit code 2, or a wait that says for whom and why. Never a traceback, never silence.

All cases run at once, a few at a time: most of each is a process that starts. A case that should wait is told to end as
soon as it has said what it waits for.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import yaml

from headrace.config import load
from headrace.config.load import merge
from headrace.operate import provision
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-2")]
AT_ONCE = 4
LONGEST_SECONDS = 120.0  # for a machine that is busy: none of them takes as many
HOST = "127.0.0.1"


class Case(NamedTuple):
    """A command, what is wrong with its configuration, and what must come of it. `code` None: it waits."""

    command: tuple[str, ...]
    over: dict[str, Any]
    code: int | None
    words: tuple[str, ...]
    check: str = ""  # of /readyz, that must name the same words
    env: dict[str, str] | None = None
    file: str = ""  # instead of one that is written


class Outcome(NamedTuple):
    code: int
    words: str
    ready: dict[str, str]


BRIDGE, CLEAN, ARCHIVE = ("bridge",), ("processors", "clean"), ("processors", "archive")
QUERY = ("headrace", "query", "select 1 from {stream}")
DEAD, MUTE = "{dead}", "{mute}"  # ports: of nobody, and of a server that never says a word
CASES = {
    "unknown key": Case(BRIDGE, {"kafak": {}}, 2, ("kafak: unknown key; did you mean kafka?",)),
    "unknown key for up": Case(("headrace", "up"), {"streams": {"a": {"routs": []}}}, 2, ("did you mean routes?",)),
    "missing file": Case(CLEAN, {}, 2, ("/nowhere/x.yaml: no such file", "--config"), file="/nowhere/x.yaml"),
    "mistyped variable": Case(
        ARCHIVE, {}, 2, ("did you mean HEADRACE_KAFKA__BOOTSTRAP?",), env={"HEADRACE_KAFKA_BOOTSTRAP": "x"}
    ),
    "no streams": Case(CLEAN, {"streams": {}}, 2, ("streams: there is none",)),
    "certificate that is none": Case(
        BRIDGE, {"mqtt": {"tls": {"enabled": True, "ca_file": __file__}}}, 2, ("mqtt.tls", __file__, "PEM")
    ),
    "another partition count": Case(
        BRIDGE, {"streams": {"{stream}": {"partitions": 2}}}, 2, ("has 1 partitions, the configuration says 2",)
    ),
    "no MQTT broker": Case(
        BRIDGE, {"mqtt": {"port": DEAD}}, None, ("127.0.0.1:{dead}: Connection refused", "mqtt.port"), "mqtt"
    ),
    "a broker that says nothing": Case(BRIDGE, {"mqtt": {"port": MUTE}}, None, ("{mute}: no answer yet",), "mqtt"),
    "TLS to a plain broker": Case(
        BRIDGE, {"mqtt": {"tls": {"enabled": True}}}, None, ("listener with TLS?", "mqtt.tls"), "mqtt"
    ),
    "a wrong password, and no registry of devices": Case(
        ("headrace", "replay", "{csv}", "--stream", "{stream}", "--no-wait"),
        {"mqtt": {"password": "wrong"}, "hub": {"token": None, "token_file": None}}, 2, ("mqtt.password",),
    ),
    "no Kafka for the bridge": Case(
        BRIDGE, {"kafka": {"bootstrap": f"{HOST}:{DEAD}"}}, None, ("Connection refused", "kafka.bootstrap"), "kafka"
    ),
    "no Kafka for clean": Case(
        CLEAN, {"kafka": {"bootstrap": f"{HOST}:{DEAD}"}}, None, ("Connection refused", "kafka.bootstrap"), "kafka"
    ),
    "no Kafka for the archive": Case(
        ARCHIVE, {"kafka": {"bootstrap": f"{HOST}:{DEAD}"}}, None, ("Connection refused", "kafka.bootstrap"), "kafka"
    ),
    "no Kafka for a tool": Case(
        ("headrace", "dlq", "list"), {"kafka": {"bootstrap": f"{HOST}:{DEAD}"}}, 1, ("refused", "kafka.bootstrap")
    ),
    "something else than Kafka": Case(
        BRIDGE, {"kafka": {"bootstrap": f"{HOST}:{MUTE}"}}, None, ("does not answer", "kafka.bootstrap"), "kafka"
    ),
    "SASL that Kafka does not have": Case(
        ARCHIVE, {"kafka": {"sasl": {"username": "a", "password": "b"}}}, 2, ("Correct kafka.sasl",)
    ),
    "no registry": Case(
        BRIDGE, {"registry": {"url": f"http://{HOST}:{DEAD}"}}, None, ("refused", "registry.url"), "registry"
    ),
    "a registry's wrong path": Case(
        CLEAN, {"registry": {"url": "{registry}/wrong"}}, None, ("HTTP 404", "/apis/ccompat/v7"), "registry"
    ),
    "no store": Case(
        ARCHIVE, {"store": {"endpoint": f"{HOST}:{DEAD}"}}, None, ("Connection refused", "store.endpoint"), "store"
    ),
    "a wrong secret": Case(ARCHIVE, {"store": {"secret_key": "wrong"}}, 2, ("store.secret_key",)),
    "a wrong secret for a tool": Case(QUERY, {"store": {"secret_key": "wrong"}}, 2, ("store.secret_key",)),
}  # fmt: skip


class World:
    """The session's stack with a provisioned stream of one's own, a port of nobody, and a mute server."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.folder = folder
        self.stream = f"bad_{uuid.uuid4().hex[:8]}"
        self.base = stack.config_file(
            folder / "base.yaml",
            {
                "streams": {
                    self.stream: {"contract": "imu", "routes": [f"{self.stream}/{{device_id}}"], "partitions": 1}
                },
                "dead_letters": {"topic": f"{self.stream}-letters"},
                "bridge": {},
                "clean": {"group": f"{self.stream}-clean"},
                "archive": {"group": f"{self.stream}-archive"},
            },
        )
        config = load(self.base, {})
        provision.topics(config)
        provision.contracts(config)
        self.dead, self.mute = (socket.socket() for _ in range(2))
        self.dead.bind((HOST, 0))  # taken, but nobody listens
        self.mute.bind((HOST, 0))
        self.mute.listen(64)
        self.csv = folder / "walk.csv"
        self.csv.write_text("event_time,ax,ay,az,gx,gy,gz\n1700000000000000,0,0,9.8,0,0,0\n", encoding="utf-8")
        self._words = {
            "stream": self.stream,
            "csv": str(self.csv),
            "dead": str(self.dead.getsockname()[1]),
            "mute": str(self.mute.getsockname()[1]),
            "registry": config.registry.url.removesuffix("/apis/ccompat/v7"),
        }

    def close(self) -> None:
        self.dead.close()
        self.mute.close()

    def fill(self, value: Any) -> Any:
        """`value` with the names in braces replaced."""
        if isinstance(value, list | tuple):
            return [self.fill(v) for v in value]
        if isinstance(value, dict):
            return {self.fill(k): self.fill(v) for k, v in value.items()}
        if isinstance(value, str):
            for name, words in self._words.items():
                value = value.replace(f"{{{name}}}", words)
        return value

    def config(self, over: dict[str, Any]) -> Path:
        data = yaml.safe_load(self.base.read_text(encoding="utf-8"))
        filled = self.fill(over)
        data = merge(data, filled) | {key: value for key, value in filled.items() if not value}
        data["bridge"]["client_id"] = f"headrace-bad-{uuid.uuid4().hex[:8]}"
        path = self.folder / f"{uuid.uuid4().hex}.yaml"
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        return path

    def start(self, command: tuple[str, ...], config: str, env: dict[str, str]) -> "subprocess.Popen[str]":
        module, *rest = (self.fill(part) for part in command)
        if command[:2] == ("headrace", "up"):
            rest = ["--state", str(self.folder / "state"), "up", "--config", config]
        else:
            rest = ["--config", config, *rest] if module == "headrace" else [*rest, "--config", config]
        return subprocess.Popen(
            [sys.executable, "-m", module, *rest],
            cwd=ROOT, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={**{k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}, **env},
        )  # fmt: skip

    def run(self, case: Case) -> Outcome:
        """Start the command, wait until it has said or done what it should, and end it."""
        process = self.start(case.command, case.file or str(self.config(case.over)), case.env or {})
        guard = threading.Timer(LONGEST_SECONDS, process.kill)
        guard.start()
        try:
            if case.code is not None:
                words = process.communicate()[1]
                return Outcome(process.returncode, words, {})
            wanted = tuple(self.fill(case.words))
            lines = wait_for(process, wanted)
            for _ in range(100):  # what is logged and what is told of it are two steps
                ready = readyz(lines)
                if all(w in ready.get(case.check, "") for w in wanted):
                    break
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            words = "".join(lines) + process.communicate()[1]
            return Outcome(process.returncode, words, ready)
        finally:
            guard.cancel()
            end(process)


def readyz(lines: list[str]) -> dict[str, str]:
    """The checks of a service that has logged on which port it tells of its health."""
    port = next(p for line in lines if (p := (said := orjson.loads(line)).get("health_port") or said.get("http_port")))
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return dict(orjson.loads(connection.getresponse().read())["checks"])
    finally:
        connection.close()


def wait_for(process: "subprocess.Popen[str]", words: tuple[str, ...]) -> list[str]:
    """The lines that a service logs until one holds all the words."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if all(w in line for w in words):
            return lines
    pytest.fail(f"the service ended: {''.join(lines)}")


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)


@pytest.fixture(scope="module")
def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    it = World(stack, tmp_path_factory.mktemp("bad"))
    yield it
    it.close()


@pytest.fixture(scope="module")
def outcomes(world: World) -> Iterator[dict[str, Future[Outcome]]]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(world.run, case) for name, case in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_it_says_what_is_wrong_and_where(name: str, world: World, outcomes: dict[str, Future[Outcome]]) -> None:
    case, it = CASES[name], outcomes[name].result()
    assert "Traceback" not in it.words
    for words in world.fill(case.words):
        assert words in it.words
    assert it.code == (case.code or 0), it.words
    if case.check:
        assert all(words in it.ready[case.check] for words in world.fill(case.words)), it.ready


def test_what_waits_goes_on_once_its_broker_is_there(world: World) -> None:
    broker = load(world.base, {}).mqtt
    with socket.socket() as door, ThreadPoolExecutor(8) as pool:
        door.bind((HOST, 0))
        path = world.config({"mqtt": {"port": door.getsockname()[1]}})
        process = world.start(BRIDGE, str(path), {})
        guard = threading.Timer(LONGEST_SECONDS, process.kill)
        guard.start()
        ends: list[socket.socket] = []
        try:
            lines = wait_for(process, ("Connection refused",))
            door.listen()
            ends += [door.accept()[0], socket.create_connection((broker.host, broker.port))]
            pool.submit(pump, *ends)
            pool.submit(pump, *reversed(ends))
            lines += wait_for(process, ('"receiving"',))
            assert readyz(lines)["mqtt"] == "ok"
            process.send_signal(signal.SIGTERM)
            process.communicate()
            assert process.returncode == 0
        finally:
            guard.cancel()
            end(process)
            for one in ends:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
