"""/api/tokens: who else may call."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy import insert, select, update

from hub.access import hashed, new_token
from hub.api.devices import iso
from hub.changes import NOBODY, change
from hub.context import Admin, Shared
from hub.model import NewToken
from hub.refusal import RefusedError
from hub.tables import tokens

router = APIRouter(prefix="/tokens")


@router.post("", status_code=201)
def make(wanted: NewToken, caller: Admin, it: Shared) -> dict[str, str]:
    """A token; only its hash is kept, so that it can't be shown again."""
    if wanted.name.lower() in {"admin", "broker"}:  # the audit log could not tell them apart
        raise RefusedError(409, f"{wanted.name} is who has the token of the configuration. Choose another name")
    token = new_token()
    with change(it.database, caller.name) as c:
        if c.connection.execute(select(tokens.c.name).where(tokens.c.name == wanted.name)).first() is not None:
            raise RefusedError(409, f"there is, or was, a token named {wanted.name}. Choose another name")
        row = {"hash": hashed(token), "name": wanted.name, "role": wanted.role, "made": c.now, "revoked": None}
        c.connection.execute(insert(tokens).values(row))
        c.record("make token", wanted.name, {"role": wanted.role}, key=NOBODY)
    return {"name": wanted.name, "role": wanted.role, "token": token}


@router.get("")
def find(_caller: Admin, it: Shared) -> dict[str, Any]:
    """All that were made, without the tokens themselves."""
    with it.database.read() as connection:
        rows = connection.execute(select(tokens).order_by(tokens.c.name)).mappings().all()
    shown = [{"name": r["name"], "role": r["role"], "made": iso(r["made"]), "revoked": iso(r["revoked"])} for r in rows]
    return {"tokens": shown}


@router.post("/{name}/revoke")
def revoke(name: str, caller: Admin, it: Shared) -> dict[str, str]:
    """End a token, at once."""
    with change(it.database, caller.name) as c:
        living = (tokens.c.name == name, tokens.c.revoked.is_(None))
        if c.connection.execute(update(tokens).where(*living).values(revoked=c.now)).rowcount == 0:
            raise RefusedError(404, f"there is no valid token named {name[:80]!r}")
        c.record("revoke token", name, key=NOBODY)
    return {"name": name}
