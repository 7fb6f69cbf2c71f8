"""When devices were started, as their sync messages say: what times since the start count from."""

from headrace.runtime.metrics import BRIDGE_SYNCED_DEVICES

MOST_DEVICES = 100_000
MOST_STARTS = 8  # of one device


class Starts:
    """By device and boot id, when that start was: microseconds since 1970 UTC. Bounded, for use on one thread.

    Of one device the latest starts are kept: what it sent before the newest may still wait somewhere.
    """

    def __init__(self) -> None:
        self._known: dict[str, dict[str, int]] = {}  # the device that was synced last at the end

    def put(self, device: str, boot: str, start: int) -> None:
        """Take what a sync message says. Of two for one start the later counts: a device's oscillator drifts."""
        starts = self._known.pop(device, None)
        if starts is None:
            starts = {}
            BRIDGE_SYNCED_DEVICES.inc()
        starts[boot] = start
        if len(starts) > MOST_STARTS:
            del starts[min(starts, key=lambda one: starts[one])]
        self._known[device] = starts
        if len(self._known) > MOST_DEVICES:
            del self._known[next(iter(self._known))]
            BRIDGE_SYNCED_DEVICES.dec()

    def of(self, device: str, boot: str) -> int | None:
        """When it was; None: no sync message has said so."""
        starts = self._known.get(device)
        return None if starts is None else starts.get(boot)

    def newest(self, device: str) -> str:
        """The boot id of the latest start that is known; empty: none is."""
        starts = self._known.get(device)
        return max(starts, key=lambda one: starts[one]) if starts else ""
