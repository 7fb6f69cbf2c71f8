"""Tokens for OAUTHBEARER: fetched with a secret or a file, kept while fresh; an outage is told from a refusal."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.errors import ConfigError, TransientError
from headrace.identity import renewal, tokens
from tests.secured.answers import answering
from tests.secured.issuer import Issuer, issuing

OIDC: dict[str, Any] = {"kind": "oidc", "client_id": "headrace", "client_secret": "s3cret", "scope": "kafka"}
AZURE: dict[str, Any] = {"kind": "azure", "client_id": "headrace", "client_secret": "s3cret"}


def config(token: dict[str, Any], bootstrap: str = "127.0.0.1:1", **over: Any) -> Kafka:
    sasl = {"mechanism": "OAUTHBEARER", "token": token}
    return Kafka.model_validate({"bootstrap": bootstrap, "sasl": sasl, **over})


def oidc(issuer: Issuer, **over: Any) -> Kafka:
    return config({**OIDC, "url": f"{issuer.url}/token", **over})


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    tokens._kept.clear()


def test_a_token_is_fetched_with_the_clients_secret_and_kept() -> None:
    with issuing() as issuer:
        cfg = oidc(issuer)
        first = tokens.current(cfg)
        assert tokens.current(cfg) == first
        assert 55 < first.expires - time.time() <= 60
        assert issuer.asked == [
            {"grant_type": "client_credentials", "client_id": "headrace", "client_secret": "s3cret", "scope": "kafka"}
        ]
        value, expires, _, extensions = tokens.callback(cfg)(None)
        assert (value, expires, extensions) == (first.value, first.expires, {})


def test_one_that_is_past_half_its_life_is_fetched_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "_AGAIN_SECONDS", 0.0)
    with issuing(life=100) as issuer:
        cfg = oidc(issuer)
        tokens.current(cfg)
        now = time.time()
        monkeypatch.setattr("time.time", lambda: now + 51)
        monkeypatch.setattr(renewal, "_QUICK_SECONDS", 10.0)
        tokens.current(cfg)
        assert len(issuer.asked) == 2


def test_an_old_one_serves_while_no_new_one_can_be_had(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with issuing(life=100) as issuer:
        cfg = oidc(issuer)
        first = tokens.current(cfg)
        issuer.away = True
        now = time.time()
        monkeypatch.setattr("time.time", lambda: now + 70)
        assert tokens.current(cfg) == first
        monkeypatch.setattr("time.time", lambda: now + 95)
        with pytest.raises(TransientError, match="token endpoint"):
            tokens.current(cfg)
        with pytest.raises(TransientError), caplog.at_level("WARNING"):
            tokens.callback(cfg)(None)
        assert "no token for Kafka" in caplog.text


def test_an_old_one_serves_while_the_issuer_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with issuing(life=100) as issuer:
        cfg = oidc(issuer)
        first = tokens.current(cfg)
        issuer.status = 400
        now = time.time()
        monkeypatch.setattr("time.time", lambda: now + 70)
        monkeypatch.setattr(renewal, "_QUICK_SECONDS", 10.0)
        monkeypatch.setattr(tokens._kept[0][2], "_again", 0.0)
        assert tokens.current(cfg) == first
        assert len(issuer.asked) == 2
        monkeypatch.setattr("time.time", lambda: now + 95)
        with pytest.raises(ConfigError, match="HTTP 400"):
            tokens.current(cfg)


@contextmanager
def saying(words: bytes | None) -> Iterator[str]:
    """The URL of a listener that answers so and hangs up, or says nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            while True:
                try:
                    peer, _ = door.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(65536)
                    peer.sendall(words or b"")

        thread = threading.Thread(target=serve, daemon=True)
        if words is not None:
            thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}/token"
        door.shutdown(socket.SHUT_RDWR)
        if words is not None:
            thread.join(5)


def test_a_silent_issuer_keeps_nobody_waiting_while_the_old_token_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    with saying(None) as url:
        cfg = config({**OIDC, "url": url})
        with monkeypatch.context() as patch:
            old = tokens.Token("old", time.time() - 2000, time.time() + 1600)
            patch.setitem(tokens._FETCH, "oidc", lambda *_: old)
            tokens.current(cfg)
        monkeypatch.setattr(tokens._kept[0][2], "_again", 0.0)
        began = time.monotonic()
        for _ in range(3):
            kafka.admin(cfg)
        assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    "words",
    [
        b"\x15\x03\x01\x00\x02\x02\x16\r\n",
        b"",
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"acc',
        b'HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"acc',
    ],
)
def test_what_breaks_off_or_is_no_http_is_an_outage(words: bytes) -> None:
    with saying(words) as url, pytest.raises(TransientError, match=r"token endpoint .*kafka\.sasl\.token"):
        tokens.current(config({**OIDC, "url": url}))


def test_no_message_holds_what_may_be_secret_in_the_endpoints_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(TransientError) as error:
        tokens.current(config({**OIDC, "url": f"http://me:hush@127.0.0.1:{port}/token?key=hush"}))
    assert f"http://127.0.0.1:{port}/token:" in str(error.value)
    assert "hush" not in str(error.value)


def test_a_file_with_an_assertion_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with issuing(life=2) as issuer:
        cfg = oidc(issuer, client_secret=None, client_assertion_file=str(file))
        with pytest.raises(ConfigError, match=r"client_assertion_file: .*token can't be read"):
            tokens.current(cfg)
        for words in ("one", "two"):
            file.write_text(f"{words}\n")
            tokens._kept.clear()
            tokens.current(cfg)
        assert [form["client_assertion"] for form in issuer.asked] == ["one", "two"]
        assert "client_secret" not in issuer.asked[0]


def test_a_refusal_is_a_configuration_error_in_the_issuers_words() -> None:
    with issuing(status=401) as issuer:
        with pytest.raises(ConfigError, match=r"HTTP 401 invalid_client no such client here.*kafka\.sasl\.token"):
            tokens.current(oidc(issuer))
        issuer.status = 404
        with pytest.raises(TransientError, match="HTTP 404"):
            tokens.current(oidc(issuer))
        issuer.status = 503
        with pytest.raises(TransientError, match="HTTP 503"):
            tokens.current(oidc(issuer))


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"<html>", TransientError, "not JSON"),
        (b"[]", ConfigError, "no access_token"),
        (b'{"access_token": "a"}', ConfigError, "expires_in"),
        (b'{"access_token": "a", "expires_in": "soon"}', ConfigError, "expires_in"),
    ],
)
def test_an_answer_without_a_token_says_what_is_wrong_with_it(body: bytes, kind: type[Exception], words: str) -> None:
    with answering(lambda _: (200, {}, body)) as it, pytest.raises(kind, match=words):
        tokens.current(config({**OIDC, "url": f"http://127.0.0.1:{it.port}/token"}))


def test_no_client_is_made_without_a_token() -> None:
    """It would wait ten seconds for one, and not say why there is none."""
    with issuing(away=True) as issuer:
        began = time.monotonic()
        with pytest.raises(TransientError, match="token endpoint"):
            kafka.producer(oidc(issuer))
        assert time.monotonic() - began < 8


def test_azure_takes_what_workload_identity_injects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "azure-identity-token"
    file.write_text("signed by the cluster")
    with issuing() as issuer:
        cfg = config({"kind": "azure"}, "ns.servicebus.windows.net:9093", tls={"enabled": True})
        for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(ConfigError, match="AZURE_TENANT_ID"):
            tokens.current(cfg)
        with answering(lambda _: (200, {}, b'{"access_token": "a", "expires_in": 3600}')) as entra:
            monkeypatch.setenv("AZURE_TENANT_ID", "tenant-1")
            monkeypatch.setenv("AZURE_CLIENT_ID", "client-1")
            monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
            monkeypatch.setenv("AZURE_AUTHORITY_HOST", f"http://127.0.0.1:{entra.port}/")
            assert tokens.current(cfg).value == "a"
        request = entra.requests[0]
        assert request.path == "/tenant-1/oauth2/v2.0/token"
        assert b"scope=https%3A%2F%2Fns.servicebus.windows.net%2F.default" in request.body
        assert b"client_assertion=signed+by+the+cluster" in request.body
        assert issuer.asked == []


@pytest.mark.parametrize(
    ("sasl", "words"),
    [
        ({"mechanism": "OAUTHBEARER"}, "token belongs to"),
        ({"username": "a", "password": "b", "token": {"kind": "azure"}}, "token belongs to"),
        ({"mechanism": "OAUTHBEARER", "username": "a", "token": {"kind": "azure"}}, "takes a token, no username"),
        ({"mechanism": "SCRAM-SHA-512", "username": "a"}, "needs username"),
        ({"mechanism": "OAUTHBEARER", "token": {"kind": "oidc", "client_id": "a"}}, "needs url"),
        ({"mechanism": "OAUTHBEARER", "token": {**OIDC, "url": "ftp://x"}}, "https://"),
        ({"mechanism": "OAUTHBEARER", "token": {"kind": "aws-msk-iam", "url": "http://x"}}, "url: not for kind"),
        ({"mechanism": "OAUTHBEARER", "token": {"kind": "azure", "client": "x"}}, "client"),
        ({"mechanism": "OAUTHBEARER", "token": {**OIDC, "url": "http://x", "tls": {"enabled": True}}}, "https://"),
        (
            {"mechanism": "OAUTHBEARER", "token": {**AZURE, "authority": "http://x", "tls": {"enabled": True}}},
            "https://",
        ),
        ({"mechanism": "OAUTHBEARER", "token": {"kind": "azure"}}, r"needs tls\.enabled"),
        ({"mechanism": "OAUTHBEARER", "token": {"kind": "aws-msk-iam"}}, r"needs tls\.enabled"),
    ],
)
def test_settings_that_do_not_fit_are_refused(sasl: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Kafka.model_validate({"sasl": sasl})
