"""Who may see a page, and change something from it.

A browser has a random secret in a cookie, and no token. A POST changes something only with a proof in its form that the
page made, which no page elsewhere can read, and only when the browser does not say that it comes from elsewhere.
"""

import time
from collections.abc import Callable
from typing import Annotated, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request, Response
from sqlalchemy import func, select

from headrace.runtime.httpserver import same
from hub import sessions
from hub.access import Caller, hashed
from hub.context import Context, context_of
from hub.model import State
from hub.refusal import RefusedError
from hub.tables import devices

PROOF = "proof"
_FIELDS = 50


class AbsentError(Exception):
    """Nobody is logged in."""


class Person(NamedTuple):
    """Who looks. `proof`: what a form has to bring back. `pending`: how many devices wait for approval."""

    caller: Caller
    proof: str
    pending: int


class Posted(NamedTuple):
    """A form, from a page of ours."""

    person: Person
    fields: dict[str, str]


def secret(request: Request) -> str:
    """What the browser's cookie holds."""
    return request.cookies.get(cookie(request), "")


def let_in(request: Request, response: Response, made: str, *, secure: bool = False) -> Response:
    """Give the browser the secret of its session. Over HTTPS (`secure`, where it is known) it sends it there alone."""
    secure = secure or request.headers.get("origin", "").startswith("https://")
    response.set_cookie(
        cookie(request), made, max_age=sessions.HOURS * 3600, httponly=True, samesite="strict", secure=secure
    )
    return response


def let_out(request: Request, response: Response) -> Response:
    """Have the browser forget it."""
    response.delete_cookie(cookie(request), httponly=True, samesite="strict")
    return response


def person(role: str) -> Callable[[Request], Person]:
    """A dependency: who is logged in, with this role or one above it. AbsentError, or RefusedError (403)."""

    def find(request: Request) -> Person:
        it, given = context_of(request), secret(request)
        caller, pending = _look(it, given) if given else (None, 0)
        if caller is None:
            raise AbsentError
        if not caller.may(role):
            raise RefusedError(403, f"{caller.name} is {caller.role}, and this needs {role}. Ask an admin to do it")
        return Person(caller, hashed(f"{PROOF} {given}"), pending)

    return find


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form. RefusedError (403) when it was sent from a page elsewhere."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    if (origin is not None and urlsplit(origin).netloc != request.headers["host"]) or site not in {
        "same-origin",
        "none",
    }:
        raise RefusedError(403, "this form was sent by a page of another site. Nothing was changed")
    try:
        return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError:
        raise RefusedError(400, "this is not a form of the console") from None


Fields = Annotated[dict[str, str], Depends(fields)]


def posted(role: str) -> Callable[[Request, Fields], Posted]:
    """A dependency: a form that somebody with this role, or one above it, sends from a page of ours."""
    who = person(role)

    def check(request: Request, given: Fields) -> Posted:
        it = who(request)
        if not same(given.get(PROOF, ""), it.proof):
            raise RefusedError(403, "this form is not from a page of your session. Load the page anew, and try again")
        return Posted(it, given)

    return check


def _look(it: Context, given: str) -> tuple[Caller | None, int]:
    waiting = select(func.count()).where(devices.c.state == State.PENDING.value)
    with it.database.read() as connection:
        caller = sessions.find(connection, it.gate, given, time.time_ns() // 1000)
        return caller, 0 if caller is None else connection.execute(waiting).scalar_one()


def cookie(request: Request) -> str:
    """The name of ours. A browser sends a cookie to every port of a machine, where another hub may listen."""
    return f"headrace-{request.url.port or 0}"


Viewer = Annotated[Person, Depends(person("viewer"))]
Admin = Annotated[Person, Depends(person("admin"))]
Operated = Annotated[Posted, Depends(posted("operator"))]
Left = Annotated[Posted, Depends(posted("viewer"))]
