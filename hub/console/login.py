"""/login and /logout."""

import time
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from headrace.errors import TransientError
from hub import codeflow, sessions
from hub.access import Caller, known_there
from hub.changes import change
from hub.console.door import Fields, Left, cookie, let_in, let_out, secret
from hub.console.render import HEADERS, page
from hub.context import Context, Shared, address_of
from hub.refusal import RefusedError

router = APIRouter()
_SPENT = "This link was used before, or is older than ten minutes. `headrace status` prints a new one."
_PROBLEMS = {"again": "You are not logged in, or not any more."}


@router.get("/login")
def show(
    request: Request, it: Shared, code: str = "", then: str = "", why: Annotated[str, Query(max_length=20)] = ""
) -> Response:
    """The form; with a code that `headrace status` has printed, a button.

    Who has been given a link is not logged in by it unasked, as somebody else perhaps, and no preview of it uses it up.
    """
    if not code:
        return _form(it, then, _PROBLEMS.get(why, ""))
    try:
        with it.gate.limited(address_of(request), {401}):
            caller = _owner(it, code)
    except RefusedError as e:
        return _form(it, then, str(e), e.status, _again(e))
    return page("enter.html", then=local(then), code=code, who=caller)


@router.post("/login")
def log_in(request: Request, it: Shared, given: Fields) -> Response:
    """Take a token, or a code; the browser gets a cookie that does not hold it."""
    then, code, whence = local(given.get("then", "")), given.get("code", ""), address_of(request)
    try:
        with it.gate.limited(whence, {401} if code else ()):
            made = _spent(it, code, whence) if code else _session(it, given.get("token", "").strip(), whence)
    except RefusedError as e:
        return _form(it, then, str(e), e.status, _again(e))
    return let_in(request, RedirectResponse(then, 303), made)


@router.get("/login/oidc")
def leave(request: Request, it: Shared, then: str = "") -> Response:
    """Send the browser to the identity provider."""
    code_flow = it.gate.code_flow
    if code_flow is None:
        raise HTTPException(404)
    try:
        made, url = code_flow.begin(local(then))
    except TransientError as e:
        return _form(it, then, f"{e}. Try again.", 503)
    answer = RedirectResponse(url, 303, HEADERS)
    # Lax: it has to come along when the provider sends the browser back.
    answer.set_cookie(
        _away(request), made, max_age=codeflow.SECONDS, path="/login", httponly=True, samesite="lax",
        secure=code_flow.secure,
    )  # fmt: skip
    return answer


@router.get(codeflow.CALLBACK)
def come_back(
    request: Request, it: Shared, state: Annotated[str, Query(max_length=4000)] = "",
    code: Annotated[str, Query(max_length=4000)] = "", error: str = "",
) -> Response:  # fmt: skip
    """Take what the identity provider says of the person, and log them in."""
    code_flow = it.gate.code_flow
    if code_flow is None:
        raise HTTPException(404)
    try:
        if error:
            raise RefusedError(401, f"the identity provider has not logged you in: {error[:200]}")
        person, then = code_flow.finish(request.cookies.get(_away(request), ""), state, code)
    except (RefusedError, TransientError) as e:
        answer: Response = _form(it, "", f"{e}.", e.status if isinstance(e, RefusedError) else 503)
    else:
        caller = known_there(person)
        with change(it.database, caller.name) as c:
            sessions.record(c, caller, address_of(request))
            made = sessions.begin(c, caller)
        # A page, as above: it is another site that has sent the browser here.
        answer = let_in(request, page("welcome.html", then=local(then)), made, secure=code_flow.secure)
    answer.delete_cookie(_away(request), path="/login", httponly=True, samesite="lax")
    return answer


@router.post("/logout")
def log_out(request: Request, it: Shared, _by: Left) -> Response:
    """End the session, here and in the browser."""
    with it.database.write() as connection:
        sessions.end(connection, secret(request))
    return let_out(request, RedirectResponse("/login", 303))


def _spent(it: Context, code: str, whence: str) -> str:
    """The session that a code brings, once."""
    caller = _owner(it, code)  # first: a stranger's guess must not hold up those who write
    with change(it.database, caller.name) as c:
        if not sessions.end(c.connection, code):
            raise RefusedError(401, _SPENT)
        sessions.record(c, caller, whence)
        return sessions.begin(c, caller)


def _owner(it: Context, code: str) -> Caller:
    with it.database.read() as connection:
        caller = sessions.find(connection, it.gate, code, time.time_ns() // 1000, sessions.CODE)
    if caller is None:
        raise RefusedError(401, _SPENT)
    return caller


def _form(
    it: Context, then: str, problem: str = "", status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    code_flow = it.gate.code_flow
    provider = "" if code_flow is None else urlsplit(code_flow.issuer).netloc
    return page("login.html", status, headers, then=local(then), problem=problem, provider=provider)


def _away(request: Request) -> str:
    return f"{cookie(request)}-login"


def _session(it: Context, token: str, whence: str) -> str:
    if not token:
        raise RefusedError(401, "Give an API token.")
    caller: Caller = it.caller(whence, f"Bearer {token}")
    with change(it.database, caller.name) as c:
        sessions.record(c, caller, whence)
        return sessions.begin(c, caller)


def _again(error: RefusedError) -> dict[str, str]:
    seconds = error.more.get("again_in_seconds")
    return {} if seconds is None else {"Retry-After": str(seconds)}


def local(then: str) -> str:
    """Where to go after the login: a path of ours, or the first page."""
    inside = then.startswith("/") and not then.startswith(("//", "/\\")) and then.isprintable()
    return then if inside else "/"
