"""Logging in at the console by way of an identity provider: in this browser, once, by the provider's word alone."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import select

from hub import oidc, tables
from tests.browser import Browser, Page
from tests.hubworld import Served, lite, served
from tests.issuer import AUDIENCE, Issuer, issuer

ROLES = {"ops": "operator", "boss": "admin"}


@pytest.fixture
def provider() -> Iterator[Issuer]:
    with issuer() as it:
        it.add("k1")
        yield it


def given(it: Issuer, **more: Any) -> dict[str, Any]:
    base = {"issuer": it.url, "audience": AUDIENCE, "algorithms": ["ES256"], "roles": ROLES}
    return {**base, "console_url": "http://127.0.0.1:1/", "client_id": "console", **more}


@pytest.fixture
def hub(tmp_path: Path, provider: Issuer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(oidc, "AGAIN_SECONDS", 0.0)
    with served(lite(tmp_path), oidc=given(provider)) as it:
        yield it


def path(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


def sent(browser: Browser, then: str = "/audit") -> str:
    """Where the console sends the browser."""
    page = browser.get(f"/login/oidc?then={then}")
    assert page.status == 303, page.words
    return page.headers["location"]


def back(browser: Browser, provider: Issuer, **more: str) -> Page:
    """The whole way, to the console's answer."""
    return browser.get(path(provider.authorize(sent(browser, **more))))


def cookies(page: Page) -> str:
    return page.headers.get("set-cookie", "")


def test_a_person_logs_in_under_their_own_name_and_comes_to_where_they_wanted(hub: Served, provider: Issuer) -> None:
    provider.claims = {"roles": ["boss"], "sub": "maria"}
    browser = Browser(hub.settings.url)
    assert f"Log in at {urlsplit(provider.url).netloc}" in browser.get("/login?then=/audit").words
    left = browser.get("/login/oidc?then=/audit")
    assert "samesite=lax" in cookies(left).lower()
    assert "httponly" in cookies(left).lower()
    page = browser.get(path(provider.authorize(left.headers["location"])))
    assert page.status == 200
    assert 'content="0; url=/audit"' in page.text
    assert "oidc:maria" in browser.get("/audit").words
    with hub.database.read() as connection:
        log = tables.audit.c
        rows = connection.execute(select(log.actor, log.act, log.target)).all()
        ends = connection.execute(select(tables.sessions.c.ends)).scalar_one()
        noted = connection.execute(select(tables.sessions.c.hash)).scalar_one()
    assert [tuple(r) for r in rows] == [("oidc:maria", "log in", "oidc:maria")]
    assert ends / 1e6 < time.time() + 61, "not longer than the token"
    assert all(noted not in value for value in browser.cookies.values())


def test_what_is_asked_for_tells_nothing_and_differs_each_time(hub: Served) -> None:
    first, second = (dict(parse_qsl(urlsplit(sent(Browser(hub.settings.url))).query)) for _ in range(2))
    assert first["redirect_uri"] == "http://127.0.0.1:1/login/callback"
    assert first["client_id"] == "console"
    assert "openid" in first["scope"].split()
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]
        assert len(first[name]) > 40
    assert len({first["state"], first["nonce"], first["code_challenge"]}) == 3


def test_an_answer_counts_in_the_browser_that_has_asked_and_once(hub: Served, provider: Issuer) -> None:
    victim, thief = Browser(hub.settings.url), Browser(hub.settings.url)
    answer = path(provider.authorize(sent(victim)))
    for browser in (thief, Browser(hub.settings.url, dict.fromkeys(victim.cookies, "x"))):
        page = browser.get(answer)
        assert (page.status, "not begun in this browser" in page.words) == (401, True)
    sent(thief)  # has a login of its own under way
    assert thief.get(answer).status == 401, "else who logs in would do it as somebody else"
    for changed in (answer.replace("%2Faudit", "%2Fevil"), answer.replace(".%2Faudit", ""), "/login/callback?code=x"):
        again = Browser(hub.settings.url, dict(victim.cookies))
        assert again.get(changed).status == 401, changed
    kept = dict(victim.cookies)
    assert victim.get(answer).status == 200
    page = Browser(hub.settings.url, kept).get(answer)
    assert (page.status, "invalid_grant" in page.words) == (401, True)
    assert "<b>no</b>" not in page.text, "what it says is escaped"


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"nonce": "other"}, "of another login"),
        ({"nonce": None}, "of another login"),
        ({"aud": AUDIENCE}, "Audience"),
        ({"aud": ["console", "other"], "azp": "other"}, "for another client"),
        ({"exp": 1}, "expired"),
        ({"iss": "http://127.0.0.1:2"}, "issuer"),
        ({"roles": ["guest"]}, "gives no role here"),
    ],
)
def test_a_token_that_is_not_for_this_login_is_refused(
    hub: Served, provider: Issuer, claims: dict[str, Any], words: str
) -> None:
    provider.claims = claims
    browser = Browser(hub.settings.url)
    page = back(browser, provider)
    assert (page.status, words in page.words) == (403 if "role" in words else 401, True), page.words
    assert browser.get("/devices").headers["location"].startswith("/login")


def test_roles_may_stand_in_the_token_for_services_of_the_same_person(hub: Served, provider: Issuer) -> None:
    provider.claims, provider.access = {"roles": None}, {"roles": ["ops"]}
    assert back(Browser(hub.settings.url), provider).status == 200
    provider.access = {"roles": ["ops"], "sub": "somebody else"}
    assert "of two people" in back(Browser(hub.settings.url), provider).words
    provider.access = {"roles": ["ops"], "aud": "other"}
    assert back(Browser(hub.settings.url), provider).status == 401


def test_the_clients_secret_goes_along_where_there_is_one(tmp_path: Path, provider: Issuer) -> None:
    provider.secret = "s3cret"
    with served(lite(tmp_path), oidc=given(provider, client_secret="s3cret")) as it:
        assert back(Browser(it.settings.url), provider).status == 200
        provider.secret = "another"
        page = back(Browser(it.settings.url), provider)
        assert (page.status, "invalid_client" in page.words) == (401, True)


def test_while_the_provider_is_away_a_token_of_hubs_own_logs_in(hub: Served, provider: Issuer) -> None:
    browser = Browser(hub.settings.url)
    address = sent(browser)
    provider.away = True
    page = browser.get("/login/oidc")
    assert (page.status, "HTTP 503" in page.words) == (503, True)
    assert browser.get(path(provider.authorize(address))).status == 503
    assert browser.log_in("a" * 30).status == 303
    refused = browser.get("/login/callback?error=access_denied<b>")
    assert (refused.status, "access_denied<b>" in refused.words) == (401, True)


def test_without_its_settings_there_is_no_such_login(tmp_path: Path, provider: Issuer) -> None:
    with served(lite(tmp_path), oidc=given(provider, console_url=None)) as it:
        browser = Browser(it.settings.url)
        assert "Log in at" not in browser.get("/login").words
        for address in ("/login/oidc", "/login/callback?code=x&state=y"):
            assert browser.get(address).status == 404
