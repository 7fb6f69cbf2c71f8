"""A browser without scripts, for the console: it keeps the cookie, and sends what a page's form holds."""

import http.client
import re
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode, urlsplit

from sqlalchemy import select

from hub import tables
from tests.hubworld import ADMIN, Served


@dataclass(frozen=True)
class Page:
    """An answer. `text`: its HTML."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def proof(self) -> str:
        """What a form of the page has to bring back; empty where it has none."""
        found = re.search(r'name="proof" value="([^"]+)"', self.text)
        return found[1] if found else ""

    @property
    def words(self) -> str:
        """What a person reads."""
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", self.text)).split())


@dataclass
class Browser:
    """At the hub of this URL."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Page:
        return self._ask("GET", path, "", headers)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Page:
        """As a form on a page of the console is sent."""
        own = {"Origin": self.url, "Content-Type": "application/x-www-form-urlencoded", **headers}
        return self._ask("POST", path, urlencode(fields), own)

    def log_in(self, token: str) -> Page:
        return self.post("/login", {"token": token})

    def press(self, page: str, action: str, **fields: str) -> Page:
        """Send the form `action` as it is on the page `page`."""
        found = self.get(page)
        assert f'action="{action}"' in found.text, found.words
        return self.post(action, {"proof": found.proof, **fields})

    def _ask(self, method: str, path: str, body: str, headers: dict[str, str]) -> Page:
        own = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())} if self.cookies else {}
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        try:
            connection.request(method, path, body or None, {**own, **headers})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        got = {k.lower(): v for k, v in answer.getheaders()}
        for cookie in answer.headers.get_all("set-cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
        return Page(answer.status, got, text)


def admin(hub: Served) -> Browser:
    """A browser in which the admin is logged in."""
    it = Browser(hub.settings.url)
    assert it.log_in(ADMIN).status == 303
    return it


def with_role(hub: Served, role: str) -> Browser:
    """A browser in which somebody with a role is logged in, by the name of a-ROLE."""
    it = Browser(hub.settings.url)
    assert it.log_in(hub.admin.post("/api/tokens", {"name": f"a-{role}", "role": role})["token"]).status == 303
    return it


def acts(hub: Served) -> list[tuple[str, str, str]]:
    """Who did what with what, as the audit log has it."""
    with hub.database.read() as connection:
        log = tables.audit.c
        return [tuple(r) for r in connection.execute(select(log.actor, log.act, log.target).order_by(log.number))]
