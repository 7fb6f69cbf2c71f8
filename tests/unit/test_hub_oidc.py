"""Tokens of an identity provider: who gets in by them, who does not, and what hub does while it is away."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jwt.warnings import InsecureKeyLengthWarning
from pydantic import ValidationError

from headrace.config.oidc import Oidc as Settings
from headrace.errors import ConfigError, TransientError
from headrace.hub.client import Hub
from headrace.runtime import attempts
from hub import oidc
from hub.refusal import RefusedError
from tests.hubworld import Served, lite, served
from tests.issuer import AUDIENCE, Issuer, issuer

ALGORITHMS = ["RS256", "ES256", "EdDSA"]
ROLES = {"ops": "operator", "boss": "admin", "staff": "viewer"}


def given(it: Issuer, **more: Any) -> dict[str, Any]:
    return {"issuer": it.url, "audience": AUDIENCE, "algorithms": ALGORITHMS, "roles": ROLES, **more}


@pytest.fixture
def provider() -> Iterator[Issuer]:
    with issuer() as it:
        it.add("k1")
        yield it


@pytest.fixture
def hub(tmp_path: Path, provider: Issuer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(oidc, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(attempts, "MOST", 1000)
    with served(lite(tmp_path), oidc=given(provider)) as it:
        yield it


def see(client: Hub) -> int:
    count: int = client.get("/api/devices")["count"]
    return count


def refusal(served_: Served, token: str) -> str:
    with pytest.raises(ConfigError) as e:
        see(served_.as_(token))
    return str(e.value)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_whom_the_provider_knows_may_do_what_the_role_says_under_their_own_name(
    hub: Served, provider: Issuer, algorithm: str
) -> None:
    kid = provider.add("more", algorithm)
    someone = hub.as_(provider.token(kid, algorithm))
    someone.post("/api/devices", {"id": "b"})
    with pytest.raises(ConfigError, match="oidc:someone is operator, and this needs admin"):
        someone.get("/api/audit")
    boss = hub.as_(provider.token(kid, algorithm, sub="the boss", roles=["staff", "boss", "unknown"]))
    acts = boss.get("/api/audit")["rows"]
    assert [(a["actor"], a["act"], a["target"]) for a in acts] == [("oidc:someone", "add", "b")]
    assert see(hub.admin) == 1, "hub's own tokens count beside"


def test_a_token_that_is_not_for_us_or_not_valid_now_is_refused(hub: Served, provider: Issuer) -> None:
    now = int(time.time())
    for claims, words in (
        ({"aud": "other"}, "Audience"),
        ({"aud": None}, "aud"),
        ({"iss": "https://example.org"}, "issuer"),
        ({"exp": now - 40}, "expired"),
        ({"exp": None}, "exp"),
        ({"nbf": now + 40}, "not yet valid"),
        ({"iat": now + 40}, "not yet valid"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "subject"),
        ({"sub": "a\nb"}, "subject"),
        ({"sub": "x" * 151}, "subject"),
    ):
        assert words in refusal(hub, provider.token("k1", **claims)), claims
    assert see(hub.as_(provider.token("k1", exp=now - 20, aud=["other", AUDIENCE]))) == 0, "clocks may differ"
    assert "the token of someone gives no role here" in refusal(hub, provider.token("k1", roles=["guest"]))
    assert "gives no role" in refusal(hub, provider.token("k1", roles=None))


def part(what: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(what).encode()).rstrip(b"=").decode()


def test_the_algorithm_is_ours_to_choose_and_the_key_is_the_providers(hub: Served, provider: Issuer) -> None:
    provider.add("rsa", "RS256")
    good = provider.token("k1")
    head, body, signature = good.split(".")

    def forged(header: dict[str, Any], key: bytes = b"") -> str:
        text = f"{part(header)}.{body}"
        made = hmac.new(key, text.encode(), hashlib.sha256).digest()
        return f"{text}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"

    public = json.dumps(provider.shown["rsa"]).encode()
    cases = [
        f"{part({'alg': 'none', 'kid': 'k1'})}.{body}.",
        f"{part({'alg': 'None', 'kid': 'k1'})}.{body}.{signature}",
        forged({"alg": "HS256", "kid": "rsa"}, public),  # the public key as a secret
        forged({"alg": "HS256", "kid": "k1"}),
        f"{part({'alg': 'RS256', 'kid': 'k1'})}.{body}.{signature}",
        f"{part({'alg': 'ES256', 'kid': 'rsa'})}.{body}.{signature}",
        f"{part({'alg': ['ES256'], 'kid': 'k1'})}.{body}.{signature}",
        f"{head}.{part({'sub': 'boss'})}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        provider.token("k1", headers={"typ": "logout+jwt"}),
        provider.token("k1", headers={"crit": ["exp"], "exp": 1}),
    ]
    stranger = Issuer()
    stranger.url = provider.url
    stranger.add("k1")
    cases.append(stranger.token("k1"))  # of the same name
    own = {"jwk": stranger.shown["k1"], "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/"}
    cases.append(stranger.token("k1", headers=own))
    names = ("../../k1", "k1' or '1'='1", "/dev/null", "http://127.0.0.1:1/", "", "k1\0")
    cases += [stranger.token("k1", headers={"kid": kid}) for kid in names]
    odd: list[object] = [{}, ["k1"], 1]
    cases += [f"{part({'alg': 'ES256', 'kid': kid})}.{body}.{signature}" for kid in odd]
    cases += ["..", "a.b.c", f"{'A' * 4000}.{body}.{signature}", f"{head}..{signature}"]
    deep = base64.urlsafe_b64encode(b"[" * 9000).decode().rstrip("=")
    cases.append(f"{deep}.{body}.{signature}")
    for token in cases:
        assert "token" in refusal(hub, token), token
    assert see(hub.as_(good)) == 0


def test_weak_and_foreign_keys_do_not_count(hub: Served, provider: Issuer) -> None:
    provider.add("weak", "RS256", bits=1024)
    with pytest.warns(InsecureKeyLengthWarning):
        weak = provider.token("weak", "RS256")
    assert "does not show" in refusal(hub, weak)
    provider.add("enc")
    provider.shown["enc"]["use"] = "enc"
    assert "does not show" in refusal(hub, provider.token("enc"))
    provider.shown["odd"] = {"kty": "oct", "k": "AAAA", "kid": "odd"}
    assert see(hub.as_(provider.token("k1"))) == 0


def test_keys_are_kept_and_asked_for_again_when_one_is_unknown_but_not_by_every_stranger(
    tmp_path: Path, provider: Issuer
) -> None:
    with served(lite(tmp_path), oidc=given(provider)) as hub:
        for _ in range(5):
            see(hub.as_(provider.token("k1")))
        assert provider.asked == 1
        provider.add("k2")
        for _ in range(5):  # within five seconds of the last look
            assert "does not show" in refusal(hub, provider.token("k2"))
        assert provider.asked == 1


def test_a_key_that_is_rotated_counts_at_once_and_the_old_one_no_more(hub: Served, provider: Issuer) -> None:
    old = provider.token("k1")
    assert see(hub.as_(old)) == 0
    provider.add("k2")
    del provider.shown["k1"]
    assert see(hub.as_(provider.token("k2"))) == 0
    assert "does not show" in refusal(hub, old)


def test_while_the_provider_is_away_hubs_own_tokens_work_and_it_comes_by_itself(
    tmp_path: Path, provider: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "AGAIN_SECONDS", 0.0)
    provider.away = True
    with served(lite(tmp_path), oidc=given(provider)) as hub:
        assert see(hub.admin) == 0
        with pytest.raises(TransientError, match=r"can't be checked now: identity provider http.*503"):
            see(hub.as_(provider.token("k1")))
        provider.away = False
        assert see(hub.as_(provider.token("k1"))) == 0
        provider.away = True
        assert see(hub.as_(provider.token("k1"))) == 0, "the keys that are known serve"
        provider.add("k2")
        with pytest.raises(TransientError, match="can't be checked now"):
            see(hub.as_(provider.token("k2")))


def test_a_provider_of_another_name_is_not_believed(hub: Served, provider: Issuer) -> None:
    provider.named = "http://127.0.0.1:1"
    with pytest.raises(TransientError, match=r"it calls itself 'http://127\.0\.0\.1:1'"):
        see(hub.as_(provider.token("k1")))


def test_a_silent_provider_holds_up_a_few_requests_for_a_moment_and_the_others_not_at_all(
    provider: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def silent(_: object) -> str:
        ended.wait(5)
        raise TransientError("away")

    monkeypatch.setattr(oidc.Oidc, "_where", silent)
    it = oidc.Oidc(Settings.model_validate(given(provider)))
    began = time.monotonic()
    for _ in range(4):
        assert it._places.acquire(blocking=False)
    with pytest.raises(RefusedError, match="can't be checked now"):
        it.check(provider.token("k1"))
    ended.set()
    assert time.monotonic() - began < 1, "those that have no place do not wait"


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["ops"]}}),
        ("https://example.org/roles", {"https://example.org/roles": ["ops"]}),
        ("scope", {"scope": "openid ops"}),
    ],
)
def test_roles_stand_where_the_provider_has_them(provider: Issuer, claim: str, claims: dict[str, Any]) -> None:
    it = oidc.Oidc(Settings.model_validate(given(provider, roles_claim=claim)))
    assert it.check(provider.token("k1", **claims))[:2] == ("someone", "operator")
    for other in ({}, {claim: 7}, {claim: [["ops"]]}, {"realm_access": "ops"}):
        with pytest.raises(RefusedError, match="gives no role"):
            it.check(provider.token("k1", roles=None, **other))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"issuer": "http://login.example.org"}, "https://"),
        ({"issuer": "https://login.example.org/?a=b"}, "neither"),
        ({"issuer": "login"}, "a URL is expected"),
        ({"audience": ""}, "at least 1"),
        ({"algorithms": ["HS256"]}, "RS256"),
        ({"algorithms": ["none"]}, "RS256"),
        ({"algorithms": []}, "at least 1"),
        ({"roles": {}}, "at least 1"),
        ({"roles": {"x": "broker"}}, "viewer"),
        ({"leeway_seconds": 3600}, "300"),
        ({"tls": {"verify_hostname": False}}, "tls is for an issuer"),
        ({"keys_url": "http://example.org/keys"}, "https://"),
    ],
)
def test_a_configuration_that_could_not_be_safe_is_refused(more: dict[str, Any], words: str) -> None:
    good = {"issuer": "http://127.0.0.1:1", "audience": "a", "roles": {"x": "viewer"}}
    Settings.model_validate(good)
    with pytest.raises(ValidationError, match=words):
        Settings.model_validate({**good, **more})
