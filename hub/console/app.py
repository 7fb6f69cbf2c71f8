"""The console: pages for people, on the same functions as the API."""

from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, RedirectResponse
from starlette.exceptions import HTTPException

from headrace.errors import TransientError
from hub.console import audit, device, devices, login, readings, status
from hub.console.door import AbsentError
from hub.console.render import HEADERS, STATIC, page, part
from hub.context import Context
from hub.refusal import RefusedError

_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOR_GOOD = {"Cache-Control": "public, max-age=31536000, immutable"}  # the path changes with the file


def make(context: Context) -> FastAPI:
    """The console, on what `context` holds."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.context = context
    for pages in (login, devices, device, readings, status, audit):
        app.include_router(pages.router)
    app.add_api_route("/", _first)
    app.add_api_route("/static/{name}", _static)
    app.add_exception_handler(AbsentError, _absent)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(TransientError, _away)
    app.add_exception_handler(HTTPException, _unknown)
    app.add_exception_handler(Exception, _broken)
    return app


def _first() -> Response:
    return RedirectResponse("/devices", 303)


def _static(name: str) -> Response:
    path = STATIC / name
    if path.suffix not in _KINDS or path.parent != STATIC or not path.is_file():
        raise HTTPException(404)
    return FileResponse(path, headers={**HEADERS, **_FOR_GOOD}, media_type=_KINDS[path.suffix])


def _absent(request: Request, _error: Exception) -> Response:
    if "hx-request" in request.headers:  # a part of a page that is open: have the browser load the login instead
        return Response(status_code=401, headers={"HX-Redirect": "/login?why=again"})
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    then = "" if path == "/" or request.method != "GET" else f"?then={quote(path, safe='')}"
    return RedirectResponse(f"/login{then}", 303)


def _problem(request: Request, status: int, problem: str, headers: dict[str, str] | None = None) -> Response:
    """A page; for htmx words alone, which stand where the part of the page would."""
    return page("problem-part.html" if part(request) else "problem.html", status, headers, problem=problem)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return _problem(request, error.status, str(error))


def _invalid(request: Request, _error: Exception) -> Response:
    return _problem(request, 422, "this address has something in it that no page of the console makes")


def _away(request: Request, error: Exception) -> Response:
    return _problem(request, 503, f"{error}. Try again", {"Retry-After": "5"})


def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: f"there is no page {request.url.path[:80]}", 405: "this page is not asked like that"}
    return _problem(request, error.status_code, words.get(error.status_code, error.detail))


def _broken(request: Request, _error: Exception) -> Response:
    return _problem(request, 500, "hub has failed here; its log says how")
