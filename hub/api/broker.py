"""/api/broker: what the agent beside the MQTT broker fetches, and what it reports back."""

import asyncio
import time
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection

from headrace.identity.ca import Authority
from hub import credentials, registry
from hub.changes import change, counter
from hub.context import Broker, Context, Shared, Viewer
from hub.credentials import CredentialKind
from hub.model import Applied
from hub.refusal import RefusedError

router = APIRouter(prefix="/broker")
WAIT_SECONDS = 25.0
_LOOK_SECONDS = 1.0  # between two looks for what another hub has changed in the same database


@router.get("")
async def told(
    _caller: Broker,
    it: Shared,
    after: int = -1,
    wait: Annotated[float, Query(ge=0, le=WAIT_SECONDS)] = WAIT_SECONDS,
    only: Literal["passwords"] | None = None,
) -> Response:
    """All that the broker is to know of devices, as soon as its version is another one than `after`.

    passwords: their hashes by device; psks: keys by device; gateways: ids; certificates: the list of those that are not
    to be taken (`hub.credentials.Ended`), null where hub makes none. 304 when nothing has changed after `wait` seconds.
    `only`: nothing but the version, the passwords and the gateways, for who needs no more.
    """
    end = time.monotonic() + wait
    while await asyncio.to_thread(_version, it) == after:
        left = end - time.monotonic()
        if left <= 0 or it.bell.closed:
            return Response(status_code=304)
        await it.bell.wait(min(left, _LOOK_SECONDS))
    return Response(await asyncio.to_thread(_passwords if only else _all, it), media_type="application/json")


@router.post("/applied")
def applied(wanted: Applied, caller: Broker, it: Shared) -> dict[str, Any]:
    """Take note that the broker has this version now, or that it may take certificates that were revoked."""
    with change(it.database, caller.name) as c:
        newest = counter(c.connection, "broker")
        if wanted.version > newest:
            raise RefusedError(422, f"version {wanted.version} was never given out: the newest is {newest}")
        c.set("unproven", int(wanted.unproven))
        if not wanted.unproven:
            c.set("applied", wanted.version)
    return {"version": wanted.version}


@router.get("/version")
def versions(_caller: Viewer, it: Shared) -> dict[str, int]:
    """The newest version of the passwords, and the one that the broker has."""
    with it.database.read() as connection:
        return {"version": counter(connection, "broker"), "applied": counter(connection, "applied")}


def _version(it: Context) -> int:
    with it.database.read() as connection:
        return counter(connection, "broker")


def _passwords(it: Context) -> bytes:
    with it.database.read() as connection:
        passwords = credentials.secrets_of(connection, CredentialKind.PASSWORD)
        gateways = registry.gateways(connection)
        return orjson.dumps({"version": counter(connection, "broker"), "passwords": passwords, "gateways": gateways})


def _all(it: Context) -> bytes:
    with it.database.read() as connection:
        kinds = (("passwords", CredentialKind.PASSWORD), ("psks", CredentialKind.PSK))
        return orjson.dumps({
            "version": counter(connection, "broker"),
            **{name: credentials.secrets_of(connection, kind) for name, kind in kinds},
            "gateways": registry.gateways(connection),
            "certificates": _certificates(connection, it.authority) if it.authority is not None else None,
        })  # fmt: skip


def _certificates(connection: Connection, authority: Authority) -> dict[str, Any]:
    found = credentials.ended(connection, authority)
    return {**found._asdict(), **{name: getattr(found, name)._asdict() for name in ("canary", "witness")}}
