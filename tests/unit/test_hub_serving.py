"""Hub's listeners: HTTP and HTTPS side by side, and what a client makes of a server that is not hub."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.config.model import Http
from headrace.config.model import Hub as Settings
from headrace.errors import ConfigError, HeadraceError
from headrace.hub.client import Hub
from headrace.identity.ca import Authority, Pair
from headrace.operate import serving
from headrace.runtime.health import Health
from hub import app
from hub.access import Gate
from hub.context import Bell, Context
from hub.database import Database
from tests.hubworld import lite, settings
from tests.waiting import until

OURS = Authority.make("ours")


def write(folder: Path, pair: Pair) -> dict[str, str]:
    for name, text in (("hub.key", pair.key), ("hub.pem", pair.cert)):
        (folder / name).write_text(text)
    (folder / "ca.pem").write_text(OURS.pair.cert)
    return {"cert_file": str(folder / "hub.pem"), "key_file": str(folder / "hub.key"), "port": "0"}


@contextmanager
def running(folder: Path) -> Iterator[tuple[Settings, int]]:
    """Hub with a certificate; yields the settings of a client of HTTPS, and the port of HTTP."""
    database = Database(lite(folder))
    database.migrate()
    it = settings(lite(folder), tls=write(folder, OURS.server("hub", ["127.0.0.1"])))
    bell = Bell()
    context = Context(database, Gate(it.serve), bell)
    loop = asyncio.new_event_loop()
    with serving.listeners(it.serve, "hub.serve") as on, Health(Http()) as health:
        work = serving.serve(app.make(it, context), it.serve.tls, on, bell, health, 5)
        thread = threading.Thread(target=lambda: loop.run_until_complete(work))
        thread.start()
        assert on.encrypted is not None
        url = f"https://127.0.0.1:{on.encrypted.getsockname()[1]}"
        try:
            yield client(it, url, folder), on.plain.getsockname()[1]
        finally:
            bell.close()
            thread.join(10)
            loop.close()
            database.close()


def client(it: Settings, url: str, folder: Path) -> Settings:
    data = {**it.model_dump(), "url": url, "tls": {"ca_file": folder / "ca.pem"}}
    return Settings.model_validate({**data, "token": it.token, "serve": it.serve})


def shown(url: str, folder: Path) -> str:
    """The certificate that a new connection sees."""
    host, _, port = url.removeprefix("https://").partition(":")
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    with socket.create_connection((host, int(port)), 5) as s, context.wrap_socket(s, server_hostname=host) as it:
        found = it.getpeercert(binary_form=True)
    assert found is not None
    return ssl.DER_cert_to_PEM_cert(found)


def test_hub_speaks_http_and_https_and_takes_a_renewed_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_LOOK_SECONDS", 0.05)
    with running(tmp_path) as (it, plain):
        hub = Hub(it)
        assert hub.get("/api/devices")["devices"] == []
        other = it.model_copy(update={"url": f"http://127.0.0.1:{plain}"})
        assert Hub(other).get("/api/devices")["devices"] == []
        before = shown(it.url, tmp_path)
        renewed = OURS.server("hub", ["127.0.0.1"])
        (tmp_path / "hub.pem").write_text(renewed.cert)  # and for a moment the key is the old one
        assert hub.get("/api/devices")["devices"] == []
        (tmp_path / "hub.key").write_text(renewed.key)
        until(lambda: shown(it.url, tmp_path) != before, 10, lambda: "the old certificate")
        assert shown(it.url, tmp_path).split() == renewed.cert.split()


@pytest.mark.parametrize("tls", [True, False])
def test_who_listens_in_hub_s_place_is_not_told_the_token(tmp_path: Path, tls: bool) -> None:
    pair = Authority.make("a stranger").server("hub", ["127.0.0.1"])
    files = write(tmp_path, pair)
    heard = b""

    def impostor() -> None:
        nonlocal heard
        taken, _ = listening.accept()
        with taken:
            try:
                if tls:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(files["cert_file"], files["key_file"])
                    with context.wrap_socket(taken, server_side=True) as it:
                        heard += it.recv(10_000)
                else:
                    heard += taken.recv(10_000)
                    taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=impostor)
        thread.start()
        it = client(settings(lite(tmp_path)), f"https://127.0.0.1:{listening.getsockname()[1]}", tmp_path)
        with pytest.raises(HeadraceError) as e:
            Hub(it).get("/api/devices")
        thread.join(10)
    assert it.token is not None
    assert it.token.get_secret_value().encode() not in heard
    assert ("hub.tls" in str(e.value)) is tls


def test_a_certificate_of_no_use_is_refused_at_the_start(tmp_path: Path) -> None:
    files = write(tmp_path, OURS.server("hub", ["127.0.0.1"])._replace(key="garbage"))
    with (
        pytest.raises(ConfigError, match=r"hub\.serve\.tls: .*hub\.pem"),
        serving.listeners(settings(lite(tmp_path), tls=files).serve, "hub.serve"),
    ):
        pass  # pragma: no cover


def test_who_does_not_ask_in_time_is_hung_up_on_and_who_asks_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.3)
    with running(tmp_path) as (it, plain):
        silent, slow = (socket.create_connection(("127.0.0.1", plain)) for _ in range(2))
        slow.sendall(b"GET /api/devices HTTP/1.1\r\nHost: localhost\r\n")
        agent = Hub(it.model_copy(update={"token": it.serve.broker_token}))
        version = agent.get("/api/broker")["version"]
        answers: list[object] = []
        query = {"wait": 1, "after": str(version)}
        waiting = threading.Thread(target=lambda: answers.append(agent.get("/api/broker", query)))
        waiting.start()
        for stranger in (silent, slow):
            stranger.settimeout(5)
            assert stranger.recv(100) == b"", "hung up"
            stranger.close()
        waiting.join(5)
        assert answers == [None], "who waits for an answer is not hung up on"
        assert Hub(it).get("/api/devices")["devices"] == []


def test_who_sends_a_body_by_drops_is_hung_up_on_and_who_sends_it_slowly_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "BODY_SECONDS", 0.4)
    monkeypatch.setattr(serving, "BODY_BYTES", 100)
    with running(tmp_path) as (_, plain):
        drops, slow = (socket.create_connection(("127.0.0.1", plain), 5) for _ in range(2))
        body = b'{"csr": "' + b"a" * 600 + b'", "token": "he_unknown"}'
        for one in (drops, slow):
            one.sendall(b"POST /api/enroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        b"Content-Length: %d\r\n\r\n" % len(body))  # fmt: skip
        drops.setblocking(False)
        ended, left = False, body
        for _ in range(14):
            slow.sendall(left[:60])
            left = left[60:]
            time.sleep(0.1)
            try:
                drops.sendall(b" ")
                ended = ended or drops.recv(100) == b""
            except BlockingIOError:
                pass
            except OSError:
                ended = True
        assert ended, "hung up"
        assert slow.recv(100).startswith(b"HTTP/1.1 4"), "its body came, in more time than one may be silent for"
        drops.close()
        slow.close()
