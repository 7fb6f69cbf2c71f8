"""The status page and its data, read-only, on loopback: GET /api/status, and the files in page/."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from headrace.errors import HeadraceError
from headrace.httpserver import Answer, HttpServer

FOLDER = Path(__file__).with_name("page")
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
# A page of another site must not read ours: no CORS header is ever sent, and a name that was pointed at 127.0.0.1
# (DNS rebinding) is told by its Host header.
NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# A path, and what answers it with JSON, given the query's parameters.
Answers = Mapping[str, Callable[[dict[str, str]], Any]]


def serve(port: int, answers: Answers, folder: Path = FOLDER) -> HttpServer:
    """The page's server. `answers` are called on its threads; their HeadraceErrors become 503s in words."""
    remedy = "Choose another with --port page=NUMBER"
    return HttpServer("127.0.0.1", port, lambda path, host: _find(answers, folder, path, host), remedy, HEADERS)


def _find(answers: Answers, folder: Path, target: str, host: str) -> Answer:
    if host not in NAMES:
        return Answer(421, "text/plain", b"This page answers to 127.0.0.1 and localhost only.\n")
    url = urlsplit(target)
    if url.path in answers:
        return _json(answers[url.path], {k: v[-1] for k, v in parse_qs(url.query).items()})
    name = "index.html" if url.path == "/" else url.path.removeprefix("/")
    # One folder, no folders in it: a name, and nothing that leads elsewhere.
    path = folder / name
    if "/" in name or name.startswith(".") or path.suffix not in KINDS or not path.is_file():
        return Answer(404, "text/plain", b"Not found.\n")
    return Answer(200, KINDS[path.suffix], path.read_bytes())


def _json(answer: Callable[[dict[str, str]], Any], query: dict[str, str]) -> Answer:
    try:
        status, data = 200, answer(query)
    except HeadraceError as e:
        status, data = 503, {"error": str(e)}
    return Answer(status, "application/json", json.dumps(data).encode() + b"\n")
