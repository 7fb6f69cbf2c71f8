"""A certificate that is wrong, expired or for another host is refused, in words that name setting and remedy."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from headrace.config import Config
from headrace.config.connect import Kafka, Mqtt, Registry, Store, Tls
from headrace.errors import ConfigError, TransientError
from headrace.identity import tls
from headrace.operate import doctor
from headrace.schema_registry.client import Registry as Client
from headrace.store.s3 import S3Store
from tests.secured.answers import Answers, answering
from tests.secured.certs import Certs
from tests.secured.front import front

Call = Callable[[int, Tls], object]
NO_SUBJECT = b'{"error_code": 40401, "message": "no such subject"}'


@pytest.fixture(scope="module")
def server() -> Iterator[Answers]:
    with answering(lambda request: (404, {}, NO_SUBJECT if request.method == "GET" else b"")) as it:
        yield it


@contextmanager
def plain(answer: bytes) -> Iterator[int]:
    """The port of a server without TLS, that gives each client `answer` and closes."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=8)

    def serve() -> None:
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            with one, suppress(OSError):
                if answer:
                    one.recv(999)
                    one.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def ask_registry(port: int, settings: Tls) -> object:
    with Client(Registry(url=f"https://127.0.0.1:{port}/x", tls=settings)) as registry:
        return registry.latest("a")


def ask_store(port: int, settings: Tls) -> object:
    keys = {"access_key": "a", "secret_key": "b"}
    store = Store.model_validate({"endpoint": f"127.0.0.1:{port}", "tls": settings.model_dump(), **keys})
    return S3Store(store).exists("x")


CLIENTS = {"registry": (ask_registry, "registry.url"), "store": (ask_store, "store.endpoint")}
BAD = {
    "unknown": ("unable to get local issuer certificate", "{it}.tls.ca_file"),
    "expired": ("certificate has expired", "Renew it at the server"),
    "elsewhere": ("IP address mismatch, certificate is not valid for '127.0.0.1'. Correct {address}",),
}


@pytest.mark.parametrize("it", CLIENTS)
def test_a_good_certificate_is_taken(it: str, certs: Certs, server: Answers) -> None:
    with front("127.0.0.1", server.port, certs.servers["good"]) as secured:
        assert not CLIENTS[it][0](secured.port, Tls(enabled=True, ca_file=certs.ca))


@pytest.mark.parametrize("it", CLIENTS)
@pytest.mark.parametrize("what", BAD)
def test_a_bad_one_is_a_configuration_error_that_says_why(it: str, what: str, certs: Certs, server: Answers) -> None:
    call, address = CLIENTS[it]
    with (
        front("127.0.0.1", server.port, certs.servers[what]) as secured,
        pytest.raises(ConfigError) as error,
    ):
        call(secured.port, Tls(enabled=True, ca_file=certs.ca))
    for words in BAD[what]:
        assert words.format(it=it, address=address) in str(error.value)


@pytest.mark.parametrize("it", CLIENTS)
def test_the_host_name_is_not_checked_where_that_is_switched_off(it: str, certs: Certs, server: Answers) -> None:
    with front("127.0.0.1", server.port, certs.servers["elsewhere"]) as secured:
        assert not CLIENTS[it][0](secured.port, Tls(enabled=True, ca_file=certs.ca, verify_hostname=False))


@pytest.mark.parametrize("it", CLIENTS)
@pytest.mark.parametrize("client", ["client", "none", "stranger", "late"])
def test_a_server_may_ask_for_the_clients_certificate(it: str, client: str, certs: Certs, server: Answers) -> None:
    pair = {"client": certs.client, "stranger": certs.stranger, "late": certs.late}.get(client)
    settings = Tls(
        enabled=True,
        ca_file=certs.ca,
        cert_file=pair.cert if pair else None,
        key_file=pair.key if pair else None,
    )
    with front("127.0.0.1", server.port, certs.servers["good"], certs.ca) as secured:
        if client == "client":
            assert not CLIENTS[it][0](secured.port, settings)
            return
        with pytest.raises(ConfigError) as error:
            CLIENTS[it][0](secured.port, settings)
    assert ("it wants a client certificate" if pair is None else "it refuses the client certificate") in str(
        error.value
    )
    assert f"{it}.tls.cert_file and {it}.tls.key_file" in str(error.value)


@pytest.mark.parametrize("it", CLIENTS)
def test_a_server_without_tls_may_be_another_one_tomorrow(it: str, certs: Certs, server: Answers) -> None:
    with pytest.raises(TransientError, match=r"without TLS|does it speak TLS"):
        CLIENTS[it][0](server.port, Tls(enabled=True, ca_file=certs.ca))


def test_a_second_look_finds_what_a_client_did_not_tell(certs: Certs, server: Answers) -> None:
    with front("127.0.0.1", server.port, certs.servers["expired"]) as secured:
        found = tls.look("127.0.0.1", secured.port, Tls(enabled=True, ca_file=certs.ca), "kafka.tls", "kafka.bootstrap")
        assert found.refused.startswith("its certificate is refused: certificate has expired. ")
        assert not found.absent
    with front("127.0.0.1", server.port, certs.servers["good"]) as secured:
        trusting = Tls(enabled=True, ca_file=certs.ca)
        assert tls.look("127.0.0.1", secured.port, trusting, "kafka.tls", "kafka.bootstrap") == tls.Look()
    away = tls.look("127.0.0.1", secured.port, trusting, "kafka.tls", "kafka.bootstrap")
    assert not away.refused
    assert "refused" in away.absent


def test_a_key_that_is_encrypted_or_anothers_is_refused_without_a_question(certs: Certs, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(certs.client.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    form = serialization.PrivateFormat.PKCS8
    locked.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"word"))
    )
    for wrong in (locked, certs.stranger.key, certs.ca):
        with pytest.raises(ConfigError, match=rf"mqtt\.tls: .*{wrong.name}.*not encrypted"):
            tls.client_context(Tls(enabled=True, cert_file=certs.client.cert, key_file=wrong), "mqtt.tls")


def test_an_error_that_is_not_about_tls_gives_no_reason() -> None:
    for e in (ConnectionResetError(), ssl.SSLEOFError(), ValueError("x")):
        assert tls.refusal(e, Tls(), "a", "b") == ""


def test_settings_that_would_count_for_nothing_are_refused(certs: Certs) -> None:
    for model in (Mqtt, Kafka, Store):
        with pytest.raises(ValidationError, match="enabled: true"):
            model.model_validate({"tls": {"ca_file": str(certs.ca)}})
    with pytest.raises(ValidationError, match="https://"):
        Registry.model_validate({"url": "http://127.0.0.1:1", "tls": {"ca_file": str(certs.ca)}})


def test_hosts_and_ports_are_told_apart() -> None:
    assert tls.split("a.example:9093") == ("a.example", 9093)
    assert tls.split("[::1]:8333") == ("::1", 8333)
    assert tls.split("a.example") == ("a.example", 443)


def test_the_doctor_looks_at_the_brokers_certificate(certs: Certs, server: Answers) -> None:
    def ask(port: int) -> str:
        secured = {"enabled": True, "ca_file": str(certs.ca)}
        return doctor._mqtt(Config.model_validate({"mqtt": {"port": port, "tls": secured}}))

    with front("127.0.0.1", server.port, certs.servers["good"]) as door:
        assert "its certificate is good" in ask(door.port)
    with pytest.raises(TransientError, match="no server listens"):
        ask(door.port)
    with (
        front("127.0.0.1", server.port, certs.servers["expired"]) as door,
        pytest.raises(ConfigError, match="certificate has expired"),
    ):
        ask(door.port)
    for answer in (b"\x20\x02\x00\x00 of MQTT", b""):  # one without TLS, and one that closes at once
        with plain(answer) as port, pytest.raises(ConfigError, match=r"does not speak TLS .*Set mqtt\.port"):
            ask(port)
