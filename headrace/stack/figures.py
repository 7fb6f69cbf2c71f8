"""What hub tells of readings, beside what the supervisor knows of the services."""

import time
from typing import Any

from headrace.config import Config
from headrace.errors import HeadraceError
from headrace.hub.client import Hub

_ANSWER_SECONDS = 2.0
EVERY_SECONDS = 2.0
_OF_SERVICES = ("readings_per_second", "readings", "dead_letters", "lag", "problems")


def told(config: Config) -> dict[str, Any]:
    """What hub answers at /api/status; empty while it does not answer."""
    try:
        found: dict[str, Any] = Hub(config.hub).get("/api/status", timeout=_ANSWER_SECONDS)
    except HeadraceError:
        return {}
    return found


def beside(snapshot: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The snapshot with the figures of services and streams in it, as far as there are any."""
    services = {
        name: {**s, **{k: v for k, v in found.get("services", {}).get(name, {}).items() if k in _OF_SERVICES}}
        for name, s in snapshot["services"].items()
    }
    streams = {name: {} for name in snapshot.get("streams_configured", [])} | found.get("streams", {})
    return {**snapshot, "services": services, "streams": streams}


class Figures:
    """The figures for a picture that is drawn often: asked for every two seconds."""

    def __init__(self, config: Config) -> None:
        self._config, self._found, self._asked = config, dict[str, Any](), 0.0

    def beside(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        """As `beside` above, with the latest."""
        if snapshot["state"] in {"ready", "degraded"} and time.monotonic() - self._asked > EVERY_SECONDS:
            self._found, self._asked = told(self._config), time.monotonic()
        return beside(snapshot, self._found)
