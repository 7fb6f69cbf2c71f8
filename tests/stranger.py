"""A stranger at the servers of a stack: another user of this machine, who has no password and no key.

    python -m tests.stranger kafka 127.0.0.1:9092 imu.raw

Each way in prints JSON: what was tried, and what came of it; an empty text where nothing did. Where root runs it, it
becomes the user `nobody` first.
"""

import encodings.idna  # noqa: F401 - of what is imported later, nobody may read the files
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.stack import ROOT

NOBODY = 65534
SECONDS, MOST = 3.0, 20
PASSWORDS: tuple[dict[str, str], ...] = (
    {},
    {
        "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
        "sasl.username": "headrace", "sasl.password": "guess",
    },
)  # fmt: skip
_METADATA, _DELETE_TOPICS, _DESCRIBE_CLUSTER = (3, 1), (20, 1), (60, 0)


def tries(what: str, *args: str) -> dict[str, str]:
    """What the stranger gets in a process of its own: `what` is one of WAYS."""
    argv = [sys.executable, "-m", "tests.stranger", what, *args]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    assert found
    return found


def kafka(address: str, topic: str) -> dict[str, Callable[[], str]]:
    """Ways to read, list and delete in Kafka, with no password and with a guess."""
    out: dict[str, Callable[[], str]] = {f"raw {name}": ask for name, ask in controller(address, topic).items()}
    for n, login in enumerate(PASSWORDS):
        settings = {"bootstrap.servers": address, "log_level": 0, **login}
        name = ("no password", "a guess")[n]
        out |= {
            f"list with {name}": partial(_list, settings),
            f"describe with {name}": partial(_describe, settings),
            f"read with {name}": partial(_read, settings, topic),
            f"delete with {name}": partial(_delete, settings, topic),
        }
    return out


def controller(address: str, topic: str) -> dict[str, Callable[[], str]]:
    """The same by bare requests, which a listener for controllers answers as well as one for clients."""
    one = struct.pack(">ih", 1, len(topic)) + topic.encode()
    return {
        "metadata": partial(_ask, address, _METADATA, b"\xff\xff\xff\xff"),
        "cluster": partial(_ask, address, _DESCRIBE_CLUSTER, b"\x00\x00", flexible=True),
        "delete": partial(_ask, address, _DELETE_TOPICS, one + struct.pack(">i", 2000)),
    }


def web(*requests: str) -> dict[str, Callable[[], str]]:
    """Requests, each a method and a URL: as they are, with a guessed password and token, and for a foreign host."""
    heads = {
        "": {}, " with a guess": {"Authorization": "Bearer guess"},
        " as headrace:guess": {"Authorization": "Basic aGVhZHJhY2U6Z3Vlc3M="}, " for evil.com": {"Host": "evil.com"},
    }  # fmt: skip
    return {
        f"{request}{name}": partial(_request, request, head) for request in requests for name, head in heads.items()
    }


def read(*paths: str) -> dict[str, Callable[[], str]]:
    """Files to read, and folders to list."""
    return {path: partial(_look, path) for path in paths}


WAYS: dict[str, Callable[..., dict[str, Callable[[], str]]]] = {
    "kafka": kafka, "controller": controller, "web": web, "read": read,
}  # fmt: skip


def _look(path: str) -> str:
    it = Path(path)
    if it.is_dir():
        return str([p.name for p in it.iterdir()])
    with it.open("rb") as file:
        return str(file.read(100))


def _list(settings: dict[str, Any]) -> str:
    return ", ".join(AdminClient(settings).list_topics(timeout=SECONDS).topics)


def _describe(settings: dict[str, Any]) -> str:
    client = AdminClient(settings)  # kept until the answer is there
    return str(client.describe_cluster(request_timeout=SECONDS).result(2 * SECONDS))


def _read(settings: dict[str, Any], topic: str) -> str:
    client = Consumer({**settings, "group.id": "stranger"})
    client.assign([TopicPartition(topic, 0, 0)])
    try:
        return str([m.value() for m in client.consume(1, SECONDS) if m.error() is None] or "")
    finally:
        client.close()


def _delete(settings: dict[str, Any], topic: str) -> str:
    client = AdminClient(settings)
    client.delete_topics([topic], request_timeout=SECONDS)[topic].result(2 * SECONDS)
    return "deleted"


def _ask(address: str, api: tuple[int, int], body: bytes, *, flexible: bool = False) -> str:
    """The bytes that a bare request brings, in hexadecimal."""
    request = struct.pack(">hhih", *api, 7, -1) + (b"\x00" if flexible else b"") + body
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), SECONDS) as s:
        s.settimeout(SECONDS)
        s.sendall(struct.pack(">i", len(request)) + request)
        return s.recv(4096).hex()


def _request(request: str, head: dict[str, str]) -> str:
    """What is answered, if it is no refusal."""
    method, _, url = request.partition(" ")
    address, _, path = url.removeprefix("http://").partition("/")
    connection = HTTPConnection(address, timeout=2 * SECONDS)
    try:
        body = None if method == "GET" else b'{"schema": "\\"int\\"", "compatibility": "NONE"}'
        connection.request(method, f"/{path}", body, {"Content-Type": "application/json", **head})
        answer = connection.getresponse()
        return "" if answer.status >= 400 else f"{answer.status} {answer.read(500)!r}"
    finally:
        connection.close()


def _outcome(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except (KafkaException, HTTPException, OSError):
        return ""


def main(what: str, *args: str) -> None:
    """Try everything at the same time, and print what came of it."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    ways = WAYS[what](*args)
    with ThreadPoolExecutor(min(len(ways), MOST)) as pool:
        print(json.dumps(dict(zip(ways, pool.map(_outcome, ways.values()), strict=True))))


if __name__ == "__main__":
    main(*sys.argv[1:])
