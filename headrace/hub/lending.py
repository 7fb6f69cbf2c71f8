"""Passwords for devices that a command plays: they are in the registry, with a tag, as real ones are."""

from collections.abc import Sequence

from headrace.errors import HeadraceError
from headrace.hub.client import Hub, device_path

TAG = "simulated"
_PAGE = 1000
_IMPORT_SECONDS = 120.0
_WAIT_SECONDS = 15.0  # for the broker to have them


def passwords(hub: Hub, names: Sequence[str], seconds: float = _WAIT_SECONDS) -> dict[str, str]:
    """A new password for each of these devices, which the broker takes by now. Adds those that are not there.

    RefusedError when there is a device of this name that is not simulated: it keeps its password. HeadraceError when
    the broker does not know the passwords within so many `seconds`.
    """
    there = _there(hub)
    new = [{"id": name, "tags": [TAG]} for name in names if name not in there]
    found: dict[str, str] = {}
    version = 0
    if new:
        done = hub.post("/api/devices/import", {"devices": new}, timeout=_IMPORT_SECONDS)
        found, version = done["passwords"], done["broker_version"]
    for name in names:
        if name in there:
            done = hub.post(device_path(name, "rotate"))
            found[name], version = done["password"], done["broker_version"]
    if not hub.in_force(version, seconds):
        raise HeadraceError("the broker does not know the devices yet: is the agent beside the broker running?")
    return found


def _there(hub: Hub) -> set[str]:
    out: set[str] = set()
    after = ""
    while True:
        page = hub.get("/api/devices", {"tag": TAG, "after": after, "limit": _PAGE})
        out |= {d["id"] for d in page["devices"]}
        after = page["next"] or ""
        if not after:
            return out
