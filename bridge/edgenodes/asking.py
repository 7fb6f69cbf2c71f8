"""Asks edge nodes of Sparkplug for a rebirth: NCMD with `Node Control/Rebirth` (Sparkplug 3.0, 5.11 and 6.4.25)."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NoReturn, Protocol

from bridge.decoders.sparkplug import payload as payloads
from bridge.edgenodes.memory import Node
from headrace import mqtt
from headrace.protocol import sparkplug
from headrace.runtime.metrics import BRIDGE_SPARKPLUG

log = logging.getLogger(__name__)

_FIRST_SECONDS = 0.2  # from the first need to the first request: births may be on their way
_PACE_SECONDS = 0.02  # between two requests: a thousand edge nodes answer one after another
_CLOGGED_SECONDS = 1.0
_MAX_WAITING = 10_000
_LOG_SECONDS = 60.0


class Outlet(Protocol):
    """What sends packets, as `Connection.send`."""

    def send(self, out: list[bytes]) -> bool:
        """Send them; False: not now."""


class Rebirths:
    """Who is to be asked. One edge node is asked once in `seconds` at most; 0: nobody is."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._waiting: dict[Node, None] = {}
        self._asked: OrderedDict[Node, float] = OrderedDict()  # when, for those that may not be asked again yet
        self._needed = asyncio.Event()
        self._logged = -_LOG_SECONDS

    def want(self, node: Node) -> None:
        """Ask it soon, unless it was asked a short time ago."""
        if not self._seconds or node in self._waiting or len(self._waiting) >= _MAX_WAITING:
            return
        now = self._clock()
        while self._asked and now - next(iter(self._asked.values())) >= self._seconds:
            self._asked.popitem(last=False)
        if node not in self._asked:
            self._waiting[node] = None
            self._needed.set()

    def born(self, node: Node) -> None:
        """Its birth has come: there is nothing to ask it for."""
        self._waiting.pop(node, None)

    def forget(self) -> None:
        """A new connection has begun."""
        self._waiting.clear()

    async def run(self, outlet: Outlet) -> NoReturn:
        """Ask by a connection, for ever."""
        while True:
            if not self._waiting:
                self._needed.clear()
                await self._needed.wait()
                await asyncio.sleep(_FIRST_SECONDS)
                continue
            node = next(iter(self._waiting))
            if outlet.send([mqtt.publish(sparkplug.rebirth_topic(*node), payloads.rebirth(time.time_ns()), None)]):
                del self._waiting[node]
                self._asked[node] = self._clock()
                self._tell(node)
                await asyncio.sleep(_PACE_SECONDS)
            else:
                await asyncio.sleep(_CLOGGED_SECONDS)

    def _tell(self, node: Node) -> None:
        BRIDGE_SPARKPLUG.labels("rebirth_asked").inc()
        now = self._clock()
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            group, name = node
            words = "asking edge nodes of Sparkplug for a rebirth: messages are missing, or their births are not known"
            log.info(words, extra={"first": f"{group}/{name}"[:200]})
