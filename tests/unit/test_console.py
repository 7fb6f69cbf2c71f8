"""The console: what is refused, what is escaped, and that a change is the one that the API makes."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import delete, text, update

from headrace.errors import TransientError
from headrace.hub.client import device_path
from hub import sessions, tables
from hub.console import audit, device, devices, login, readings, status
from tests.browser import Browser, acts, admin, with_role
from tests.hubworld import ADMIN, Served, add, lite, served

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    with served(lite(tmp_path)) as it:
        yield it


def pages(it: Browser) -> dict[str, Any]:
    paths = (
        "/login",
        "/devices",
        "/devices/b",
        "/pending",
        "/audit",
        "/audit/chain",
        "/broker/1",
        "/status",
        "/readings",
        "/nothing",
    )
    return {path: it.get(path) for path in paths}


def test_nobody_sees_a_page_without_a_login(hub: Served) -> None:
    add(hub.admin, "b")
    stranger = Browser(hub.settings.url)
    for path, page in pages(stranger).items():
        if path == "/login":
            continue
        wanted = (404, None) if path == "/nothing" else (303, f"/login?then={path.replace('/', '%2F')}")
        assert (page.status, page.headers.get("location")) == wanted, path
    part = stranger.get("/devices", **{"HX-Request": "true"})
    assert (part.status, part.headers["hx-redirect"]) == (401, "/login?why=again")
    for path in ("/devices/b/revoke", "/devices/b/rotate", "/logout"):
        assert stranger.post(path, {"proof": "x"}).headers.get("location") == "/login", path
    assert hub.admin.get(device_path("b"))["state"] == "active"


def test_each_post_is_refused_without_the_proof_of_the_session_and_from_elsewhere(hub: Served) -> None:
    add(hub.admin, "b")
    it = admin(hub)
    proof, other = it.get("/devices/b").proof, admin(hub).get("/devices/b").proof
    assert proof != other
    found = [r for part in (login, devices, device, readings, status, audit) for r in part.router.routes]
    posts = {r.path for r in found if isinstance(r, APIRoute) and (r.methods or set()) - {"GET"}}
    assert len(posts) >= 4
    values = {"{device}": "b", "{act}": "revoke", "{number}": "1"}
    for path in posts:
        place = re.sub(r"\{\w+\}", lambda m: values[m[0]], path)
        origins = [{"Origin": o} for o in ("http://evil.com", "null", "http://127.0.0.1:1")]
        for headers in (*origins, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
            page = it.post(place, {"proof": proof, "token": ADMIN}, **headers)
            assert page.status == 403, (place, headers)
            assert "another site" in page.words
        if path != "/login":
            for fields in ({}, {"proof": other}, {"proof": ""}):
                assert it.post(place, fields).status == 403, (place, fields)
    assert hub.admin.get(device_path("b"))["state"] == "active"
    assert it.post("/devices/b/revoke", {"proof": proof}).status == 303


def test_every_answer_says_what_the_browser_may_load(hub: Served) -> None:
    add(hub.admin, "b")
    it = admin(hub)
    for path, page in {**pages(it), "/": it.get("/"), "/static/x": it.get("/static/x"), **_assets(it)}.items():
        rules = dict(r.strip().partition(" ")[::2] for r in page.headers["content-security-policy"].split(";"))
        assert rules["default-src"] == "'none'", path
        assert rules["frame-ancestors"] == "'none'", path
        assert not any("unsafe" in r or "http" in r or "data:" in r for r in rules.values()), path
        assert page.headers["x-content-type-options"] == "nosniff", path
        if "text/html" in page.headers.get("content-type", ""):
            assert page.headers["cache-control"] == "no-store", path
            look = Inline()
            look.feed(page.text)
            assert look.found == [], path


def _assets(it: Browser) -> dict[str, Any]:
    paths = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', it.get("/devices").text))
    assert len(paths) == 3
    out = {path: it.get(path) for path in paths}
    assert {p.status for p in out.values()} == {200}
    assert all("immutable" in p.headers["cache-control"] for p in out.values())
    return out


class Inline(HTMLParser):
    """What the rules would not let a page do: scripts and styles in it, handlers as attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)
        self.found += [f"{tag} {n}" for n in names if n == "style" or n.startswith(("on", "hx-on", "hx-vals"))]


def test_what_strangers_wrote_is_shown_as_text(hub: Served) -> None:
    more: dict[str, Any] = dict.fromkeys(("serial", "model", "firmware", "owner"), EVIL)
    values = {"attributes": {"note": EVIL, "deep": {"a": [EVIL]}}, "calibration": {"2026-01-01": {"g": EVIL}}}
    add(hub.admin, "b", **more, **values)
    with hub.database.write() as connection:
        connection.execute(update(tables.devices).values(state="pending"))
    it = admin(hub)
    searched = f"/devices?text=zz&tag={EVIL.replace('<', '%3C').replace(' ', '+')}"
    for path in (
        "/devices",
        "/devices/b",
        "/pending",
        "/audit",
        searched,
        f"/{'%3Cscript%3E'}",
        "/login?then=/%22%3E%3Cscript%3E",
    ):
        page = it.get(path)
        look = Inline()
        look.feed(page.text)
        assert look.found == [], path
        assert "<img src=x" not in page.text, path
    assert it.get("/devices/b").text.count("&lt;script&gt;alert(1)") >= 7


def test_what_is_done_on_a_page_is_done_as_the_api_does_it_in_the_persons_name(hub: Served) -> None:
    add(hub.admin, "b")
    it = with_role(hub, "operator")
    before = hub.broker.get("/api/broker")
    page = it.press("/devices/b", "/devices/b/rotate")
    password = re.search(r'class="secret">([\w-]+)<', page.text)
    assert password is not None
    assert password[1] not in it.get("/devices/b").text
    told = hub.broker.get("/api/broker")
    assert told["version"] > before["version"]
    assert told["passwords"]["b"] != before["passwords"]["b"]
    page = it.press("/devices/b", "/devices/b/quarantine")
    assert "Quarantined" in it.get(page.headers["location"]).words
    it.press("/devices/b", "/devices/b/release")
    assert hub.admin.get(device_path("b"))["state"] == "active"
    page = it.press("/devices/b", "/devices/b/revoke")
    assert "Waiting for the broker" in it.get(f"/broker/{hub.admin.get('/api/broker/version')['version']}").words
    assert hub.broker.get("/api/broker")["passwords"] == {}
    hub.broker.post("/api/broker/applied", {"version": hub.admin.get("/api/broker/version")["version"]})
    done = it.get("/broker/1")
    assert (done.status, done.words) == (286, "The broker has taken it.")
    mine = [(act, target) for actor, act, target in acts(hub) if actor == "a-operator"]
    assert mine == [("log in", "a-operator"), ("rotate", "b"), ("edit", "b"), ("edit", "b"), ("revoke", "b")]
    history = it.get("/devices/b").words
    assert history.index("revoke a-operator") < history.index("rotate a-operator") < history.index("add admin")
    assert it.post("/devices/b/dance", {"proof": it.get("/devices/b").proof}).status == 404
    assert it.get("/devices/nobody").status == 404


def test_a_page_says_which_rule_has_shut_a_device_out(hub: Served) -> None:
    add(hub.admin, "b")
    it = with_role(hub, "operator")
    hub.broker.post("/api/broker/behaviour", {"facts": [{"rule": "messages", "who": "b", "value": 10**6}]})
    words = it.get("/devices/b").words
    assert "Shut out by the rule messages" in words
    assert "1,000,000, where 300,000 is the most." in words


def test_a_credential_is_ended_by_itself(hub: Served) -> None:
    hub.admin.post("/api/devices", {"id": "b", "credential": "psk"})
    it = admin(hub)
    number = hub.admin.get(device_path("b"))["credentials"][0]["number"]
    assert "New key (PSK) of b" in it.press("/devices/b", "/devices/b/psk").words
    assert it.post(f"/devices/b/credentials/{number}/end", {"proof": it.get("/devices/b").proof}).status == 404
    it.press("/devices/b", f"/devices/b/credentials/{number + 1}/end")
    assert "End…" not in it.get("/devices/b").words


def test_a_viewer_sees_and_changes_nothing_and_reads_no_log(hub: Served) -> None:
    add(hub.admin, "b")
    it = with_role(hub, "viewer")
    page = it.get("/devices/b")
    assert re.findall(r'action="([^"]+)"', page.text) == ["/logout"]
    for act in ("revoke", "rotate", "approve"):
        assert it.post(f"/devices/b/{act}", {"proof": page.proof}).status == 403
    assert it.get("/audit").status == 403
    assert it.get("/audit/chain").status == 403
    assert "/audit" not in page.text


def test_what_waits_is_counted_and_approved(hub: Served) -> None:
    for n in range(3):
        add(hub.admin, f"new-{n}", serial=f"SN{n}")
    it = admin(hub)
    assert "Nothing waits" in it.get("/pending").words
    with hub.database.write() as connection:
        connection.execute(update(tables.devices).values(state="pending"))
    assert "Approve 3" in it.get("/devices").words
    assert it.press("/pending", "/devices/new-1/approve", back="pending").headers["location"] == "/pending"
    assert "new-1" not in it.get("/pending").words
    assert hub.admin.get(device_path("new-1"))["state"] == "active"
    done = it.get(it.press("/devices/new-2", "/devices/new-2/reject").headers["location"])
    assert "Rejected" in done.words
    assert hub.admin.get(device_path("new-2"))["state"] == "revoked"
    assert [row[1:] for row in acts(hub)[-2:]] == [("approve", "new-1"), ("reject", "new-2")]
    token = re.search(r'class="secret">([\w-]+)<', it.press("/devices/new-0", "/devices/new-0/invite").text)
    assert token is not None
    assert acts(hub)[-1][1:] == ("invite", "new-0")


def test_devices_are_found_page_by_page_both_ways(hub: Served) -> None:
    it = admin(hub)
    assert "headrace devices add" in it.get("/devices").words
    fleet = [{"id": f"d{n:03}", "tags": ["odd"] if n % 2 else [], "model": "m 1"} for n in range(120)]
    hub.admin.post("/api/devices/import", {"devices": fleet})

    def shown(path: str) -> tuple[list[str], dict[str, str]]:
        text = it.get(path).text
        ways = {rel: href.replace("&amp;", "&") for href, rel in re.findall(r'href="([^"]+)" rel="(\w+)"', text)}
        return re.findall(r'href="/devices/(d\d+)"', text), ways

    first, ways = shown("/devices?text=m")
    assert (first[0], first[-1], list(ways)) == ("d000", "d049", ["next"])
    second, ways = shown(ways["next"])
    assert (second[0], second[-1], list(ways)) == ("d050", "d099", ["prev", "next"])
    last, back = shown(ways["next"])
    assert (last[0], last[-1], list(back)) == ("d100", "d119", ["prev"])
    assert shown(back["prev"]) == (second, ways)
    assert shown(ways["prev"])[0] == first
    assert len(shown("/devices?tag=odd&state=active&kind=device")[0]) == 50
    assert "60 devices" in it.get("/devices?tag=odd").words
    assert "No device fits" in it.get("/devices?text=nothing").words
    part = it.get("/devices?tag=odd", **{"HX-Request": "true"})
    assert "<html" not in part.text
    assert "d001" in part.text
    assert it.get("/devices?state=nonsense&text=" + "x" * 300).status == 422


def test_the_chain_of_the_log_is_checked_and_a_change_shows(hub: Served) -> None:
    for n in range(60):
        add(hub.admin, f"d{n}")
    it = admin(hub)
    page = it.get("/audit")
    assert len(re.findall("<tr>", page.text)) == 51
    older = it.get(re.findall(r'href="(/audit\?before=\d+)"', page.text)[0]).words
    assert " d0 " in older
    assert "each of 61 rows follows" in it.get("/audit/chain").words
    with hub.database.write() as connection:
        connection.execute(text("update audit set target = 'other' where number = 3"))
        connection.execute(delete(tables.audit).where(tables.audit.c.number == 7))
    with audit._one:
        busy = it.get("/audit/chain", **{"HX-Request": "true"})
    assert (busy.status, "<html" in busy.text) == (409, False)
    assert "being checked for somebody else" in busy.words
    words = it.get("/audit/chain").words
    assert "tampered" in words
    assert "row 3 was changed" in words
    assert "row 7 was removed" in words


def test_a_foreign_name_is_refused_and_an_outage_is_told(hub: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    it = admin(hub)
    assert it.get("/devices", Host="evil.com").status == 421
    assert it.post("/login", {"token": ADMIN}, Host="evil.com", Origin="http://evil.com").status == 421

    def away(*_: object) -> None:
        raise TransientError("hub's database: gone")

    monkeypatch.setattr(sessions, "find", away)
    page = it.get("/devices")
    assert (page.status, page.headers["retry-after"]) == (503, "5")
    assert "gone. Try again" in page.words
