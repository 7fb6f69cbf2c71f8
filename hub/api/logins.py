"""/api/logins: a code with which a browser logs in at the console without the token."""

from fastapi import APIRouter

from hub import sessions
from hub.changes import change
from hub.context import Shared, Viewer

router = APIRouter(prefix="/logins")


@router.post("", status_code=201)
def make(caller: Viewer, it: Shared) -> dict[str, str | int]:
    """A code for the caller's own browser, which works once, as the path of the page that takes it."""
    with change(it.database, caller.name) as c:
        code = sessions.begin(c, caller, sessions.CODE)
    return {"path": f"/login?code={code}", "seconds": sessions.CODE_SECONDS}
