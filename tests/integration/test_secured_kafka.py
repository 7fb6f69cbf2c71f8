"""A real Kafka with TLS and SASL: every way in is taken, every wrong one refused; tokens are renewed, or waited for."""

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from confluent_kafka import OFFSET_BEGINNING
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from headrace import kafka
from headrace.config import Config
from headrace.config.connect import Kafka
from headrace.errors import ConfigError, TransientError
from headrace.identity import tokens
from headrace.operate import provision
from processors.group import commits
from processors.group.token import Token
from tests.secured import kafka as secured
from tests.secured.answers import Answer, Request, answering
from tests.secured.certs import Certs, Pair
from tests.secured.front import front
from tests.secured.issuer import Issuer, issuing
from tests.secured.kafka import Listener, Server
from tests.secured.stripping import stripping
from tests.stack import ROOT

pytestmark = pytest.mark.integration
HOST = "127.0.0.1"
LIFE = 12.0  # seconds that a token holds
PATIENCE = 60.0


class World:
    """The broker, its certificates, who issues tokens, and a topic."""

    def __init__(self, server: Server, certs: Certs, issuer: Issuer, door: int) -> None:
        self.server, self.certs, self.issuer, self.door = server, certs, issuer, door
        self.stream = f"s{uuid.uuid4().hex[:8]}"
        self.topic = f"{self.stream}.clean"
        route = f"{self.stream}/{{device_id}}"
        self.base: dict[str, Any] = {
            "kafka": self.settings("inner"),
            "streams": {self.stream: {"contract": "imu", "routes": [route], "partitions": 1}},
            "dead_letters": {"topic": f"{self.stream}-letters", "partitions": 1},
            "registry": {"url": f"http://{HOST}:1"},
            "clean": {"group": f"{self.stream}-clean"},
            "archive": {"group": f"{self.stream}-archive"},
        }
        end = time.monotonic() + 2 * PATIENCE
        while True:  # a broker that has just started on a busy machine may take long over its first topics
            try:
                provision.topics(Config.model_validate(self.base))
            except TransientError:
                if time.monotonic() > end:
                    raise
            else:
                return

    def settings(self, listener: str, sasl: dict[str, Any] | None = None, pair: Pair | None = None) -> dict[str, Any]:
        """`kafka` of a configuration for this listener."""
        out: dict[str, Any] = {"bootstrap": self.server.address(listener)}
        if sasl is not None:
            out["sasl"] = sasl
        if listener not in {"inner", "bearer", "proxied"}:
            files = {"cert_file": str(pair.cert), "key_file": str(pair.key)} if pair is not None else {}
            out["tls"] = {"enabled": True, "ca_file": str(self.certs.ca), **files}
        return out

    def token(self, **over: str) -> dict[str, Any]:
        """`sasl` with tokens of the issuer."""
        client = {"kind": "oidc", "client_id": "headrace", "client_secret": "s3cret", "url": f"{self.issuer.url}/token"}
        return {"mechanism": "OAUTHBEARER", "token": {**client, **over}}

    def sasl(self, mechanism: str, password: str = "alice-secret") -> dict[str, Any]:
        """`sasl` with a password."""
        return {"mechanism": mechanism, "username": "alice", "password": password}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("secured")
    certs = Certs(folder)
    with issuing(life=LIFE) as issuer, socket.create_server((HOST, 0)) as door:
        port = int(door.getsockname()[1])
        listeners = secured.tls_listeners(certs)
        listeners["bearer"] = Listener("SASL_PLAINTEXT", secured.bearer(issuer.url))
        listeners["proxied"] = Listener("PLAINTEXT", advertised=port)
        with secured.running(folder, listeners, secured.allowed(issuer.url)) as server:
            host, behind = server.address("proxied").split(":")
            with stripping(door, (host, int(behind))):
                yield World(server, certs, issuer, port)


def good(world: World, way: str) -> Kafka:
    """The settings for a way in that is right."""
    return Kafka.model_validate(
        {
            "tls": lambda: world.settings("good"),
            "client certificate": lambda: world.settings("mutual", pair=world.certs.client),
            "PLAIN": lambda: world.settings("plain", world.sasl("PLAIN")),
            "SCRAM-SHA-512": lambda: world.settings("scram", world.sasl("SCRAM-SHA-512")),
            "OAUTHBEARER": lambda: world.settings("bearer", world.token()),
        }[way]()
    )


@pytest.mark.parametrize("way", ["tls", "client certificate", "PLAIN", "SCRAM-SHA-512", "OAUTHBEARER"])
def test_each_way_in_carries_a_record_and_a_commit(way: str, world: World) -> None:
    cfg = good(world, way)
    assert kafka.probe(cfg, PATIENCE) == 1
    producer = kafka.producer(cfg)
    producer.produce(f"{world.stream}.raw", way.encode())
    assert producer.flush(PATIENCE) == 0
    client = kafka.consumer(cfg, f"{world.stream}-{uuid.uuid4().hex[:6]}")
    try:
        _, high = kafka.watermarks(client, f"{world.stream}.raw", 0)
        client.assign([kafka.TopicPartition(f"{world.stream}.raw", 0, high - 1)])
        message = client.poll(PATIENCE)
        assert message is not None
        assert message.value() == way.encode()
        kafka.commit(client, f"{world.stream}.raw", 0, high, "note")
        assert kafka.committed(client, [(f"{world.stream}.raw", 0)])[f"{world.stream}.raw", 0] == (high, "note")
    finally:
        client.close()


WRONG: dict[str, tuple[str, str, str]] = {  # listener, who, words
    "unknown authority": ("unknown", "", "unable to get local issuer certificate. Set kafka.tls.ca_file"),
    "expired": ("expired", "", "certificate has expired. Renew it at the server"),
    "another host": ("elsewhere", "", "certificate is not valid for '127.0.0.1'. Correct kafka.bootstrap"),
    "no client certificate": ("mutual", "", "Set kafka.tls.cert_file and kafka.tls.key_file"),
    "a stranger's certificate": ("mutual", "stranger", "refuses the client certificate"),
    "a client certificate that expired": ("mutual", "late", "refuses the client certificate"),
    "a wrong password": ("plain", "PLAIN", "Invalid username or password"),
    "a wrong SCRAM password": ("scram", "SCRAM-SHA-512", "invalid credentials with SASL mechanism SCRAM-SHA-512"),
    "another mechanism": ("scram", "PLAIN", "supported mechanisms: SCRAM-SHA-512"),
}


def wrong(world: World, name: str) -> dict[str, Any]:
    """`kafka` of a configuration with this wrong way in."""
    listener, who, _ = WRONG[name]
    pair = {"stranger": world.certs.stranger, "late": world.certs.late}.get(who)
    sasl = world.sasl(who, "wrong") if who in {"PLAIN", "SCRAM-SHA-512"} else None
    return world.settings(listener, sasl, pair)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_way_in_is_refused_with_its_reason(name: str, world: World) -> None:
    with pytest.raises(ConfigError) as error:
        kafka.probe(Kafka.model_validate(wrong(world, name)), PATIENCE)
    assert WRONG[name][2] in str(error.value)
    assert "kafka.sasl" in str(error.value) or "kafka.tls" in str(error.value) or "kafka.bootstrap" in str(error.value)


def run(world: World, command: str, over: dict[str, Any], folder: Path) -> tuple[int, str]:
    """(exit code, stderr) of a service or a command of the CLI, with this over the configuration."""
    path = folder / "headrace.yaml"
    store = {"kind": "folder", "folder": str(folder / "lake")}
    path.write_text(yaml.safe_dump({**world.base, "store": store, **over}))
    module, *words = command.split(" ", 2)
    given = ["--config", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", module, *(given + words if module == "headrace" else words + given)],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")},
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("bridge", "expired"),
        ("processors clean", "another host"),
        ("processors archive", "unknown authority"),
        ("headrace dlq list", "a wrong password"),
    ],
)
def test_services_and_tools_refuse_to_start(command: str, name: str, world: World, tmp_path: Path) -> None:
    code, words = run(world, command, {"kafka": wrong(world, name)}, tmp_path)
    assert code == 2, words
    assert WRONG[name][2] in words
    assert "Traceback" not in words


def registry(request: Request) -> Answer:
    """As much of a registry as the bridge needs: every schema is there already, with the id 1."""
    level = {"compatibilityLevel": "BACKWARD"}
    found = {"subject": "s", "version": 1, "id": 1, "schemaType": "AVRO", "schema": '"string"'}
    return 200, {"Content-Type": "application/json"}, orjson.dumps(level if "/config" in request.path else found)


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "dependency", "what"),
    [
        ("bridge", "mqtt", "expired"),
        ("bridge", "mqtt", "mutual"),
        ("bridge", "registry", "elsewhere"),
        ("processors clean", "registry", "unknown"),
        ("processors archive", "registry", "expired"),
        ("processors archive", "store", "elsewhere"),
        ("headrace provision", "registry", "mutual"),
        ("headrace provision", "store", "expired"),
        ("headrace query select 1 from {stream}", "store", "unknown"),
    ],
)
def test_so_they_do_for_the_other_servers(
    command: str, dependency: str, what: str, world: World, tmp_path: Path
) -> None:
    """Behind the certificate is a registry of a few lines, or nobody."""
    pair = world.certs.servers["good" if what == "mutual" else what]
    client_ca = world.certs.ca if what == "mutual" else None
    tls = {"enabled": True, "ca_file": str(world.certs.ca)}
    with answering(registry) as answers, front(HOST, answers.port, pair, client_ca) as door:
        over: dict[str, Any] = {"registry": {"url": f"http://{HOST}:{answers.port}"}}
        if dependency == "mqtt":
            over["mqtt"] = {"port": door.port, "tls": tls}
        elif dependency == "registry":
            over["registry"] = {"url": f"https://{HOST}:{door.port}", "tls": tls}
        else:
            keys = {"access_key": "a", "secret_key": "b"}
            over["store"] = {"kind": "s3", "endpoint": f"{HOST}:{door.port}", "tls": tls, **keys}
        code, words = run(world, command.format(stream=world.stream), over, tmp_path)
    assert code == 2, words
    assert {
        "expired": "certificate has expired",
        "unknown": f"Set {dependency}.tls.ca_file",
        "elsewhere": "is not valid for '127.0.0.1'",
        "mutual": f"it wants a client certificate (certificate required). Set {dependency}.tls.cert_file",
    }[what] in words
    assert dependency in words
    assert "Traceback" not in words


@pytest.mark.long
def test_tokens_are_renewed_and_their_issuers_absence_is_waited_out(world: World) -> None:
    cfg = good(world, "OAUTHBEARER")
    errors: list[kafka.KafkaError] = []
    delivered: list[int] = []
    first = tokens.current(cfg)
    producer = kafka.producer(cfg, error_cb=errors.append)
    client = kafka.consumer(cfg, f"{world.stream}-reader")
    client.assign([kafka.TopicPartition(world.topic, 0, OFFSET_BEGINNING)])
    sent, got = 0, list[int]()

    def note(number: int) -> Callable[[kafka.KafkaError | None, kafka.Message], None]:
        return lambda error, _message: delivered.append(number if error is None else -1)

    def carry(seconds: float) -> None:
        """A record every half second."""
        nonlocal sent
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            producer.produce(world.topic, str(sent).encode(), on_delivery=note(sent))
            sent += 1
            producer.poll(0.25)
            read(0.25)

    def read(seconds: float) -> None:
        message = client.poll(seconds)
        if message is not None and message.error() is None:
            got.append(int(message.value() or b"-1"))

    try:
        carry(2.5 * world.issuer.life)
        assert producer.flush(PATIENCE) == 0
        assert time.time() > first.expires
        assert tokens.current(cfg).value != first.value
        # On a busy machine the new token may come after the session's end; but nobody is told to mend anything.
        assert not [e for e in errors if not isinstance(kafka.translate(e, "carrying"), TransientError)]
        world.issuer.away = True
        carry(2 * world.issuer.life)
        assert len(producer) > 0, "without a token nothing goes on"
        told = [kafka.translate(e, "carrying") for e in errors]
        assert told
        assert not [e for e in told if not isinstance(e, TransientError)]
        with pytest.raises(TransientError, match="token endpoint"):
            kafka.describe(cfg, [world.topic])
        world.issuer.away = False
        assert producer.flush(PATIENCE) == 0
        end = time.monotonic() + PATIENCE
        while len(got) < sent and time.monotonic() < end:
            read(1.0)
    finally:
        world.issuer.away = False
        client.close()
    assert delivered == list(range(sent)), "none lost, none refused, in order"
    assert got == list(range(sent))


def test_a_token_that_is_refused_says_so(world: World, tmp_path: Path) -> None:
    world.issuer.status = 401
    try:
        over = {"kafka": world.settings("bearer", world.token(client_id="other"))}
        code, words = run(world, "processors archive", over, tmp_path)
    finally:
        world.issuer.status = 200
    assert code == 2, words
    assert "HTTP 401 invalid_client" in words
    assert "kafka.sasl.token" in words


def test_a_user_who_may_not_use_the_trials_group_is_let_on_but_not_into_a_group_that_is_closed(
    world: World, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    group = f"{world.stream}-{uuid.uuid4().hex[:6]}"
    rule = AclBinding(
        ResourceType.GROUP, f"{group}-probe", ResourcePatternType.LITERAL,
        "User:alice", "*", AclOperation.ALL, AclPermissionType.DENY,
    )  # fmt: skip
    inner = kafka.admin(Kafka(bootstrap=world.server.address("inner")))
    for future in inner.create_acls([rule]).values():
        future.result()
    cfg = good(world, "SCRAM-SHA-512")
    with caplog.at_level("WARNING"):
        commits.prove(cfg, group, [world.topic])
    assert "the first commit will show" in caplog.text
    client = kafka.consumer(cfg, group)
    try:
        commits.Commits(client).commit(Token(), (world.topic, 0), 0, "note")
    finally:
        client.close()
    over = {"kafka": world.settings("scram", world.sasl("SCRAM-SHA-512")), "archive": {"group": f"{group}-probe"}}
    code, words = run(world, "processors archive", over, tmp_path)
    assert code == 2, words
    assert "GROUP_AUTHORIZATION_FAILED" in words
    assert "Let this user read that group" in words


def test_a_broker_that_drops_the_metadata_of_offsets_is_refused_at_start(world: World, tmp_path: Path) -> None:
    cfg = Kafka(bootstrap=f"{HOST}:{world.door}")
    with pytest.raises(ConfigError, match="nothing came back"):
        commits.prove(cfg, "trial", [world.topic])
    for service in ("clean", "archive"):
        code, words = run(world, f"processors {service}", {"kafka": {"bootstrap": cfg.bootstrap}}, tmp_path)
        assert code == 2, words
        assert "Without the metadata of offsets nothing is certain after a crash" in words
    commits.prove(Kafka(bootstrap=world.server.address("inner")), "trial", [world.topic])
