"""/readings: the newest readings of a stream, as they come, and those of one device."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse

from headrace.errors import ConfigError, TransientError
from headrace.operate.newest import Newest
from headrace.protocol.names import DEVICE_AUDIT, DEVICE_EVENTS
from hub.console.door import Viewer
from hub.console.render import HEADERS, page
from hub.context import Context, Shared
from hub.refusal import RefusedError

router = APIRouter()
_OWN = {DEVICE_AUDIT, DEVICE_EVENTS}
_PLACE = {"device_id", "event_time"}
Device = Annotated[str, Query(max_length=64)]


@router.get("/readings")
def first(_person: Viewer, it: Shared) -> Response:
    """The first stream."""
    names = streams(it)
    return RedirectResponse(f"/readings/{names[0]}" if names else "/status", 303)


@router.get("/readings/{stream}")
def show(stream: str, person: Viewer, it: Shared, device: Device = "") -> Response:
    """A chart and a table, which a script fills."""
    if stream not in streams(it):
        raise RefusedError(404, f"there is no stream {stream[:48]!r}; there are: {', '.join(streams(it))}")
    return page("readings.html", person=person, here="readings", stream=stream, streams=streams(it), device=device)


@router.get("/readings/{stream}/newest")
def newest(stream: str, _person: Viewer, it: Shared) -> Response:
    """What the script asks for: as `Newest.answer` has it."""
    if stream not in streams(it):
        raise RefusedError(404, "there is no such stream")
    try:
        return _json(_newest(it).answer(stream))
    except (TransientError, ConfigError) as e:
        return _json({"error": str(e)}, 503)


@router.get("/devices/{device}/readings")
def of_device(device: str, _person: Viewer, it: Shared) -> Response:
    """The last reading of a device in each stream, among the newest there; a part of its page."""
    found, problem = {}, ""
    try:
        for stream in streams(it):
            if (last := _last(_newest(it), stream, device)) is not None:
                found[stream] = last
    except (TransientError, ConfigError) as e:
        problem = str(e)
    return page("device-readings.html", device=device, found=found, problem=problem, streams=streams(it))


def streams(it: Context) -> list[str]:
    """The streams of devices, by name."""
    return [s for s in it.newest.streams if s not in _OWN] if it.newest is not None else []


def _json(answer: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(answer), status, HEADERS, "application/json")


def _newest(it: Context) -> Newest:
    if it.newest is None:
        raise TransientError("readings are not read here")
    return it.newest


def _last(newest: Newest, stream: str, device: str) -> dict[str, Any] | None:
    """`event_time`, and by name each value with its unit; arrays as how many values they have."""
    told = newest.answer(stream)
    mine = [r for r in told["readings"] if r.get("device_id") == device]
    if not mine:
        return None
    last = max(mine, key=lambda r: str(r.get("event_time", "")))
    values = {
        f["name"]: (_shown(last[f["name"]]), f["unit"])
        for f in told["fields"]
        if f["name"] not in _PLACE and last.get(f["name"]) is not None
    }
    return {"event_time": str(last.get("event_time", ""))[:19].replace("T", " "), "values": values}


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return f"{len(value):,} values"
    return f"{value:.7g}" if isinstance(value, float) else value
