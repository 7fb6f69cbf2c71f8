"""Pages from templates. Whatever a template prints is escaped: much of it comes from devices, and so from strangers."""

import hashlib
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from mako.lookup import TemplateLookup
from markupsafe import Markup, escape

STATIC = Path(__file__).with_name("static")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer a form's POST would say `Origin: null`
}
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (0.0, "s"))
_templates = TemplateLookup(
    [str(Path(__file__).with_name("templates"))], default_filters=["text"], strict_undefined=True,
    imports=["from markupsafe import Markup", "from hub.console.render import ago, asset, link, moment, text"],
    filesystem_checks=False,
    input_encoding="utf-8",
)  # fmt: skip


def page(template: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any) -> HTMLResponse:
    """A template as an answer. `values` are its variables; one that is missing is an error.

    `person`: who is logged in, None for nobody; `here`: which of the pages in the header it is.
    """
    made = _templates.get_template(template).render_unicode(**{"person": None, "here": "", **values})
    return HTMLResponse(made, status, {**HEADERS, **(headers or {})})


def part(request: Request) -> bool:
    """Whether htmx asks, for the part of the page that it puts into the one that is open."""
    return "hx-request" in request.headers and "hx-history-restore-request" not in request.headers


def text(value: Any) -> Markup:
    """How a template prints a value: escaped; nothing for None, thousands apart, JSON for lists and objects."""
    if value is None:
        return Markup()
    if isinstance(value, bool | dict | list):
        return escape(json.dumps(value, ensure_ascii=False))
    if isinstance(value, int):
        return escape(f"{value:,}")
    return escape(value)


def link(path: str, **query: str) -> str:
    """A path of ours with a query; what is empty is left out."""
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def moment(micros: int) -> Markup:
    """A time, in microseconds since 1970 UTC, as date and time in UTC."""
    when = datetime.fromtimestamp(micros / 1e6, UTC)
    return Markup('<time datetime="{}">{}</time>').format(when.isoformat(), when.strftime("%Y-%m-%d %H:%M:%S"))


def ago(micros: int, now: int) -> Markup:
    """How long ago a time is, both in microseconds since 1970 UTC; the time itself shows where the pointer rests."""
    when = datetime.fromtimestamp(micros / 1e6, UTC)
    seconds = max(0.0, (now - micros) / 1e6)
    size, unit = next((s, u) for s, u in _UNITS if seconds >= s)
    words = "just now" if seconds < 1 else f"{seconds / (size or 1):.0f} {unit} ago"
    full = when.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(when.isoformat(), full, words)


@cache
def asset(name: str) -> str:
    """The path of a file in static/, which changes with the file: so browsers may keep it for good."""
    return f"/static/{name}?{hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"
