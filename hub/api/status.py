"""/api/status: how the services are, and how fast readings flow."""

from typing import Any

from fastapi import APIRouter

from hub.changes import counter
from hub.context import Context, Shared, Viewer
from hub.watch import ServiceWatch

router = APIRouter(prefix="/status")


@router.get("")
def show(_caller: Viewer, it: Shared) -> dict[str, Any]:
    """As `ServiceWatch.snapshot` tells it, and the newest version for the broker beside the one that it has."""
    return snapshot(it)


def snapshot(it: Context) -> dict[str, Any]:
    """The same."""
    with it.database.read() as connection:
        broker = {name: counter(connection, key) for name, key in (("version", "broker"), ("applied", "applied"))}
    return {**(it.watch or ServiceWatch({}, "")).snapshot(), "broker": broker}
