"""The HTTP application: routes, who may use them, and errors in words."""

import json
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.config.model import Hub
from headrace.errors import TransientError
from hub.api import audit, behaviour, broker, devices, enrolment, logins, status, tokens
from hub.console import app as console
from hub.context import Context
from hub.guard import Guard
from hub.refusal import RefusedError
from hub.words import faults_of


def make(settings: Hub, context: Context) -> ASGIApp:
    """The application, on what `context` holds: the API below /api/, and the console."""
    api, pages = _api(context), console.make(context)

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        await (api if scope["path"].startswith("/api/") else pages)(scope, receive, send)

    names = [*settings.serve.hosts, urlsplit(settings.url).hostname or ""]
    return Guard(both, names, ["/api/devices/import"], context.caller)


def _api(context: Context) -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.context = context
    for part in (devices, enrolment, broker, behaviour, tokens, audit, logins, status):
        app.include_router(part.router, prefix="/api")
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(TransientError, _away)
    app.add_exception_handler(HTTPException, _unknown)
    app.add_exception_handler(Exception, _broken)
    return app


def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    more = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if "again_in_seconds" in error.more:
        more["Retry-After"] = str(error.more["again_in_seconds"])
    return JSONResponse({"error": str(error), **error.more}, error.status, more)


def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = faults_of(error.errors())
    return JSONResponse({"error": "; ".join(faults), "errors": faults}, 422)


def _away(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"{error}. Try again"}, 503, {"Retry-After": "1"})


def _broken(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "hub has failed here; its log says how"}, 500)


def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"{request.method} {request.url.path}: {error.detail}" if error.status_code in {404, 405} else error.detail
    return Response(json.dumps({"error": text}), error.status_code, error.headers, "application/json")
