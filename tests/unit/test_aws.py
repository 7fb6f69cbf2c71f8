"""Credentials as EKS gives them to a pod, from local stand-ins of STS and of the Pod Identity agent; and what is signed

with them. That the stand-ins speak as AWS does is taken from AWS's documentation: the real ones were never asked.
"""

import base64
import time
import traceback
import urllib.parse
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from minio.credentials.providers import StaticProvider

from headrace.config.connect import Store
from headrace.errors import ConfigError, TransientError
from headrace.identity import aws, renewal
from headrace.store.s3 import S3Store
from tests.secured.answers import Answer, Request, answering

SOON = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
STS = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAONE</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>
<SessionToken>session</SessionToken><Expiration>{SOON}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>""".encode()
AGENT = f'{{"AccessKeyId":"ASIATWO","SecretAccessKey":"x","Token":"session","Expiration":"{SOON}"}}'.encode()
VARIABLES = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
    "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ENDPOINT_URL_STS", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_ROLE_SESSION_NAME",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    aws.credentials.cache_clear()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("signed by the cluster")
    return file


def irsa(monkeypatch: pytest.MonkeyPatch, token: Path, port: int) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/headrace")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{port}")


def test_irsa_trades_the_pods_token_for_credentials_once(monkeypatch: pytest.MonkeyPatch, token: Path) -> None:
    with answering(lambda _: (200, {}, STS)) as sts:
        irsa(monkeypatch, token, sts.port)
        identity = aws.Identity(5)
        found = identity.retrieve()
        assert (found.access_key, found.secret_key, found.session_token) == ("ASIAONE", "secret", "session")
        assert identity.retrieve() == found
    assert len(sts.requests) == 1
    asked = urllib.parse.unquote(sts.requests[0].path + sts.requests[0].body.decode())
    for words in ("Action=AssumeRoleWithWebIdentity", "signed by the cluster", "arn:aws:iam::1:role/headrace"):
        assert words in asked.replace("+", " ")


def test_pod_identity_asks_the_agent_with_the_pods_token(monkeypatch: pytest.MonkeyPatch, token: Path) -> None:
    with answering(lambda _: (200, {}, AGENT)) as agent:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{agent.port}/v1/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
        assert aws.Identity(5).retrieve().access_key == "ASIATWO"
    assert agent.requests[0].path == "/v1/credentials"
    assert agent.requests[0].headers["authorization"] == "signed by the cluster"


@pytest.mark.parametrize(("status", "kind"), [(403, ConfigError), (503, TransientError)])
def test_a_refusal_is_told_from_an_outage(
    status: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch, token: Path
) -> None:
    with answering(lambda _: (status, {}, b"AccessDenied" if status == 403 else b"")) as sts:
        irsa(monkeypatch, token, sts.port)
        with pytest.raises(kind, match="AWS credentials") as error:
            aws.Identity(5).retrieve()
    shown = "".join(traceback.format_exception(error.value))
    assert "/?" not in shown
    for secret in ("signed", "WebIdentityToken"):
        assert secret not in shown


@pytest.mark.parametrize("body", [b"<html><p>", b"<html/>", b"", b"\xff"])
def test_an_answer_that_is_not_from_sts_is_an_outage(body: bytes, monkeypatch: pytest.MonkeyPatch, token: Path) -> None:
    with answering(lambda _: (200, {}, body)) as sts:
        irsa(monkeypatch, token, sts.port)
        with pytest.raises(TransientError, match="AWS credentials"):
            aws.Identity(5).retrieve()


def until(minutes: float) -> Answer:
    """Credentials that hold for so long."""
    end = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return 200, {}, STS.replace(SOON.encode(), end.encode())


@pytest.mark.parametrize("status", [400, 403, 503])
def test_old_ones_serve_to_their_end_whatever_sts_says(
    status: int, monkeypatch: pytest.MonkeyPatch, token: Path
) -> None:
    monkeypatch.setattr(renewal, "_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(renewal, "_QUICK_SECONDS", 10.0)
    with answering(lambda _: until(4)) as sts:
        irsa(monkeypatch, token, sts.port)
        identity = aws.Identity(5)
        first = identity.retrieve()
        sts.answer = lambda _: (status, {}, b"")
        assert identity.retrieve() == first
        assert len(sts.requests) == 2, "in the last five minutes new ones are asked for"
        _, expires = aws.msk_token("eu-central-1", identity, time.time())
        assert 200 < expires - time.time() <= 240
        sts.answer = lambda _: until(60)
        assert identity.retrieve() != first
        now = time.time()
        monkeypatch.setattr("time.time", lambda: now + 3595)
        sts.answer = lambda _: (status, {}, b"")
        with pytest.raises(TransientError, match=f"status code {status}"):
            identity.retrieve()


def test_a_pod_without_its_token_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    irsa(monkeypatch, tmp_path / "none", 1)
    with pytest.raises(ConfigError, match="service account"):
        aws.Identity(5).retrieve()


def test_a_token_for_msk_is_what_awss_own_library_makes() -> None:
    """Made by aws-msk-iam-sasl-signer-python 1.0.2 for these keys and this moment, but for its own User-Agent."""
    signer = StaticProvider("AKIAEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "IQoJb3JpZ2luX2VjE+/=")
    at = datetime(2026, 11, 23, 16, 0, 0, tzinfo=UTC).timestamp()
    token, expires = aws.msk_token("eu-central-1", signer, at)
    assert expires == at + 900
    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    query = dict(urllib.parse.parse_qsl(url.partition("?")[2]))
    assert url.startswith("https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect&")
    assert query["X-Amz-Credential"] == "AKIAEXAMPLE/20261123/eu-central-1/kafka-cluster/aws4_request"
    assert query["X-Amz-Signature"] == "18e43365cbf0f88ea5cee5c2c1c7e4eacb107dd85f30efcb94d41b682fc0ec6d"


def store(port: int, **over: object) -> S3Store:
    keys = {} if over.get("credentials") == "aws" else {"access_key": "a", "secret_key": "b"}
    return S3Store(Store.model_validate({"endpoint": f"127.0.0.1:{port}", **keys, **over}))


def test_s3_is_asked_with_the_pods_credentials(monkeypatch: pytest.MonkeyPatch, token: Path) -> None:
    with answering(lambda _: (200, {}, STS)) as sts, answering(lambda _: (200, {"ETag": '"1"'}, b"")) as s3:
        irsa(monkeypatch, token, sts.port)
        assert store(s3.port, credentials="aws").put("k", b"1")
    assert "Credential=ASIAONE/" in s3.requests[0].headers["authorization"]
    assert s3.requests[0].headers["x-amz-security-token"] == "session"


def encrypting(request: Request) -> Answer:
    told = {n: v for n, v in request.headers.items() if n.startswith("x-amz-server-side-encryption")}
    return 200, {"ETag": '"1"', **told}, b""


@pytest.mark.parametrize(
    ("sse", "headers"),
    [
        ({"kind": "s3"}, {"x-amz-server-side-encryption": "AES256"}),
        ({"kind": "kms"}, {"x-amz-server-side-encryption": "aws:kms"}),
        (
            {"kind": "kms", "key": "arn:aws:kms:eu-central-1:1:key/k"},
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:eu-central-1:1:key/k",
            },
        ),
    ],
)
def test_every_object_is_asked_to_be_encrypted(sse: dict[str, str], headers: dict[str, str]) -> None:
    with answering(encrypting) as s3:
        assert store(s3.port, sse=sse).put("k", b"1", if_absent=True)
    asked = {n: v for n, v in s3.requests[0].headers.items() if n.startswith("x-amz-server-side-encryption")}
    assert asked == headers
    assert all(name in s3.requests[0].headers["authorization"] for name in headers), "signed"


def test_a_store_that_takes_the_header_and_does_not_encrypt_is_found_out() -> None:
    with (
        answering(lambda _: (200, {"ETag": '"1"'}, b"")) as s3,
        pytest.raises(ConfigError, match="reports no encryption"),
    ):
        store(s3.port, sse={"kind": "s3"}).put("k", b"1")
