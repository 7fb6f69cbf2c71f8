"""Azure Blob's answers that its emulator does not give, from a stand-in."""

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from headrace.config import Config
from headrace.config.connect import Store
from headrace.errors import ConfigError, TransientError
from headrace.operate import doctor
from headrace.store.open import open_store
from tests.secured.answers import Answer, Request, answering

REFUSED = b'{"error": "invalid_client", "error_description": "AADSTS70021: no matching federated identity record"}'
ISSUED = b'{"access_token": "issued", "token_type": "Bearer", "expires_in": 3600}'
WRITTEN = {"ETag": '"1"'}


def store(port: int, **over: Any) -> Store:
    azure = {"account": "acct", "url": f"http://127.0.0.1:{port}/acct", "sas_token": "sv=1&sig=a"}
    return Store.model_validate({"kind": "azure", "bucket": "lake", "azure": azure, "timeout_seconds": 1, **over})


def error(status: int, code: str) -> Answer:
    return status, {"Content-Type": "application/xml"}, f"<Error><Code>{code}</Code></Error>".encode()


def test_only_a_conditional_write_can_meet_what_is_there_and_only_where_the_service_says_so() -> None:
    code = ""
    with answering(lambda _: error(409, code)) as blob:
        it = open_store(store(blob.port))
        for code in ("BlobAlreadyExists", "ContainerBeingDeleted", "PathConflict"):
            with pytest.raises(TransientError, match=code):
                it.put("k", b"1")
        for code in ("ContainerBeingDeleted", "PathConflict"):
            with pytest.raises(TransientError, match=code):
                it.put("k", b"1", if_absent=True)
        code = "BlobAlreadyExists"
        assert it.put("k", b"1", if_absent=True) is False


def test_the_doctor_finds_a_container_that_is_missing() -> None:
    def answer(request: Request) -> Answer:  # of a HEAD nobody sees the body
        return error(404, "ContainerNotFound")

    with answering(answer) as blob, pytest.raises(ConfigError, match="no container 'lake'"):
        doctor._store(Config(store=store(blob.port)))


class _Slow(socketserver.StreamRequestHandler):
    """Reads slowly, or sends slowly, or falls silent."""

    def handle(self) -> None:
        words = self.rfile.readline().split()
        length = 0
        while line := self.rfile.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if b"silent" in words[1]:
            self.connection.settimeout(8)
            with suppress(OSError):
                self.rfile.read()  # until the client has had enough
            return
        for _ in range(0, length, 1 << 20):
            self.rfile.read(min(length, 1 << 20))
            time.sleep(0.2)
        head = b'Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nETag: "1"\r\nConnection: close\r\n'
        if words[0] == b"PUT":
            self.wfile.write(b"HTTP/1.1 201 Created\r\n" + head + b"Content-Length: 0\r\n\r\n")
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: 4\r\n\r\n")
        for _ in range(4):
            time.sleep(0.2)
            self.wfile.write(b"x")


@contextmanager
def slow() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Slow) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(5)


def test_a_slow_link_brings_large_objects_and_silence_is_an_outage() -> None:
    with slow() as port:
        it = open_store(store(port, timeout_seconds=0.5))
        assert it.put("k", bytes(4 << 20))
        assert it.get("k") == b"xxxx"
        begun = time.monotonic()
        with pytest.raises(TransientError):
            it.get("silent")
        assert time.monotonic() - begun < 7


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the pod's token."""
    token = tmp_path / "token"
    token.write_text("signed by the cluster")
    monkeypatch.setenv("AZURE_CLIENT_ID", "client-1")
    monkeypatch.setenv("AZURE_TENANT_ID", "tenant-1")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(token))
    return token


@pytest.mark.parametrize("status", [400, 401, 403])
def test_an_identity_that_is_refused_is_a_configuration_error_until_it_once_was_taken(
    status: int, pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entra: Answer = (status, {}, REFUSED)
    with answering(lambda _: entra) as issuer, answering(lambda _: (201, WRITTEN, b"")) as blob:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", f"http://127.0.0.1:{issuer.port}")
        azure = {"account": "acct", "url": f"http://127.0.0.1:{blob.port}/acct"}

        def put() -> None:
            open_store(store(0, azure=azure)).put("k", b"1")

        with pytest.raises(ConfigError, match=r"identity is refused.*AADSTS70021.*service account"):
            put()
        pod.rename(pod.with_name("gone"))
        with pytest.raises(ConfigError, match=r"identity is refused.*federated token file"):
            put()
        pod.with_name("gone").rename(pod)
        entra = 503, {}, b""
        with pytest.raises(TransientError):
            put()
        entra = 200, {}, ISSUED
        put()
        entra = status, {}, REFUSED
        with pytest.raises(TransientError, match="AADSTS70021"):
            put()
