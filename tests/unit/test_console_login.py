"""Logging in at the console: with a token, with a code, and until when."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from headrace.errors import ConfigError
from headrace.runtime import attempts
from hub import tables
from tests.browser import Browser, acts, admin, with_role
from tests.hubworld import ADMIN, BROKER, Served, add, lite, served
from tests.issuer import AUDIENCE, issuer

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    with served(lite(tmp_path)) as it:
        yield it


def test_a_login_gives_a_cookie_that_holds_no_token_and_leads_back(hub: Served) -> None:
    it = Browser(hub.settings.url)
    page = it.post("/login", {"token": f" {ADMIN} ", "then": "/devices?tag=x"})
    assert (page.status, page.headers["location"]) == (303, "/devices?tag=x")
    cookie = page.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/", "max-age=43200"))
    assert "secure" not in cookie
    assert ADMIN not in cookie
    with hub.database.read() as connection:
        kept = str(connection.execute(select(tables.sessions)).all())
    assert ADMIN not in kept
    assert not any(value in kept for value in it.cookies.values())
    assert ("admin", "log in", "admin") in acts(hub)
    for then in ("//evil.com", "https://evil.com", "/\\evil.com", "evil", "/a\r\nSet-Cookie: x=y"):
        assert it.post("/login", {"token": ADMIN, "then": then}).headers["location"] == "/", then


def test_over_https_the_browser_keeps_the_cookie_to_https(hub: Served) -> None:
    it, host = Browser(hub.settings.url), hub.settings.url.removeprefix("http://")
    page = it.post("/login", {"token": ADMIN}, Origin=f"https://{host}")
    assert "secure" in page.headers["set-cookie"].lower()


def test_a_session_ends_with_its_token_with_the_logout_and_by_itself(hub: Served) -> None:
    viewer = with_role(hub, "viewer")
    assert viewer.get("/devices").status == 200
    hub.admin.post("/api/tokens/a-viewer/revoke")
    assert viewer.get("/devices").status == 303
    it = admin(hub)
    stolen = Browser(it.url, dict(it.cookies))
    assert it.press("/devices", "/logout").headers["location"] == "/login"
    assert stolen.get("/devices").status == 303
    late = admin(hub)
    with hub.database.write() as connection:
        connection.execute(update(tables.sessions).values(ends=1))
    assert late.get("/devices").status == 303


def test_every_hub_on_the_database_knows_the_session(hub: Served, tmp_path: Path) -> None:
    it = admin(hub)
    with served(lite(tmp_path)) as other:
        here, there = (h.settings.url.rpartition(":")[2] for h in (hub, other))
        moved = Browser(other.settings.url, {k.replace(here, there): v for k, v in it.cookies.items()})
        assert moved.get("/devices").status == 200


@pytest.mark.clause("CR 1.11")
def test_wrong_tokens_are_refused_in_words_and_limited(hub: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST", 3)
    it = Browser(hub.settings.url)
    assert "Give an API token" in it.log_in("").words
    for _ in range(3):
        page = it.log_in("guess" * 9)
        assert (page.status, it.cookies) == (401, {})
        assert "not known, or was revoked" in page.words
    page = it.log_in("guess" * 9)
    assert page.status == 429
    assert int(page.headers["retry-after"]) > 1
    assert "too many wrong tokens" in page.words
    assert it.log_in(BROKER).status == 429
    monkeypatch.setattr(attempts, "SECONDS", 0.0)
    page = it.log_in(BROKER)
    assert page.status == 403
    assert "broker is broker: only viewer, operator and admin" in page.words


def test_a_code_logs_in_once_as_who_asked_for_it(hub: Served) -> None:
    made = hub.admin.post("/api/logins")
    it = Browser(hub.settings.url)
    for _ in range(2):  # a preview of the link, say
        page = it.get(f"{made['path']}&then=%2Faudit")
        assert (page.status, it.cookies) == (200, {})
        assert "as admin (admin)" in page.words
    code = made["path"].partition("=")[2]
    assert code in page.text
    fields = {"code": code, "then": "/audit"}
    assert it.post("/login", fields, Origin="https://evil.com").status == 403
    page = it.post("/login", fields)
    assert (page.status, page.headers["location"], page.headers["set-cookie"].count(code)) == (303, "/audit", 0)
    assert it.get("/audit").status == 200
    again = Browser(hub.settings.url)
    for page in (again.get(made["path"]), again.post("/login", fields)):
        assert (page.status, again.cookies) == (401, {})
        assert "used before, or is older" in page.words
    late = hub.admin.post("/api/logins")["path"]
    with hub.database.write() as connection:
        connection.execute(update(tables.sessions).values(ends=1))
    assert again.get(late).status == 401
    with pytest.raises(ConfigError, match="needs viewer"):
        hub.broker.post("/api/logins")


def test_guessed_codes_are_limited_and_keep_nobody_from_writing(hub: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST", 3)
    it, good = Browser(hub.settings.url), hub.admin.post("/api/logins")["path"]
    with hub.database.write():
        assert [it.get(f"/login?code=guess{n}").status for n in range(5)] == [401, 401, 401, 429, 429]
    assert it.get(good).status == 200, "a right one can't be guessed, and comes in"


def test_a_token_of_the_identity_provider_logs_in_for_as_long_as_it_is_good(tmp_path: Path) -> None:
    with issuer() as provider:
        kid = provider.add("k1")
        trusted = {"issuer": provider.url, "audience": AUDIENCE, "algorithms": ["ES256"], "roles": {"ops": "operator"}}
        with served(lite(tmp_path), oidc=trusted) as hub:
            add(hub.admin, "b")
            it, now = Browser(hub.settings.url), time.time()
            assert it.log_in(provider.token(kid, exp=int(now) + 40)).status == 303
            it.press("/devices/b", "/devices/b/quarantine")
            assert acts(hub)[-1] == ("oidc:someone", "edit", "b")
            with hub.database.read() as connection:
                (ends,) = connection.execute(select(tables.sessions.c.ends)).scalars()
            assert now + 39 < ends / 1e6 <= now + 40
            with hub.database.write() as connection:
                connection.execute(update(tables.sessions).values(ends=1))
            assert it.get("/devices").status == 303
            assert it.log_in(provider.token(kid, exp=int(now) + 9 * 24 * 3600)).status == 303
            with hub.database.read() as connection:
                ends = max(connection.execute(select(tables.sessions.c.ends)).scalars())
            assert ends / 1e6 < now + 13 * 3600
