"""The bridge's MQTT side: one session, taken up again on a new connection each time the old one breaks."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NoReturn

from bridge import clocks
from bridge.beside import beside
from bridge.decoders.choice import Choice
from bridge.delivery import Link
from bridge.departure import Departure
from bridge.edgenodes.asking import Rebirths
from bridge.edgenodes.memory import EdgeNodes
from bridge.intake import Intake
from bridge.routing import Routing
from headrace import mqtt
from headrace.config import Config
from headrace.errors import FatalError, TransientError
from headrace.mqtt import Connection, Session
from headrace.runtime import backoff
from headrace.runtime.health import Health
from headrace.runtime.metrics import BRIDGE_CONNECTIONS, BRIDGE_SESSIONS_LOST

log = logging.getLogger(__name__)

_SLOW_SECONDS = 3.0
_SILENT_SECONDS = 7.0
_RIVAL_LOSSES, _RIVAL_SECONDS = 3, 60.0
_STEADY_SECONDS = 30.0  # after a connection that lasted this long, the pauses begin again with the shortest


class Sessions:
    """Receives messages and gives them to `intake`."""

    def __init__(
        self,
        config: Config,
        routing: Routing,
        decoders: Mapping[str, Choice],  # by Route.where
        intake: Intake,
        departure: Departure,
        health: Health,
        edges: EdgeNodes,
        rebirths: Rebirths,
    ) -> None:
        b = config.bridge
        self._config, self._decoders = config, decoders
        self._mqtt = config.mqtt
        self._session = Session(
            b.client_id, b.session_expiry_seconds, b.keepalive_seconds, b.receive_maximum, b.max_payload_bytes
        )
        self._routing = routing
        self._intake = intake
        self._departure = departure
        self._edges, self._rebirths = edges, rebirths
        self._health = health
        self._hang_ups: deque[float] = deque(maxlen=_RIVAL_LOSSES)  # when the broker hung up
        self.link: Link | None = None  # of the newest connection

    async def run(self) -> None:
        """Connect and receive, again and again; returns when the departure is complete.

        At its end, and when it is cancelled, the last connection stays open: there may be PUBACKs to send.
        """
        pauses = backoff.pauses()
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._receive(await self._connect())
            except TransientError as e:
                now = asyncio.get_running_loop().time()
                self._look_for_rival(now)
                if now - began > _STEADY_SECONDS:
                    pauses = backoff.pauses()
                pause = next(pauses)
                self._health.ready("mqtt", ok=False, why=str(e))
                log.warning("no MQTT connection", extra={"error": str(e), "again_in_seconds": round(pause, 1)})
                await asyncio.sleep(pause)
            else:
                return

    @asynccontextmanager
    async def ending(self) -> AsyncIterator[None]:
        """Keep the connection alive during the block, then say goodbye; a session that we have departed from ends."""
        link = self.link
        if link is None:
            yield
            return
        # A broker ends a connection that is silent for 1.5 keepalives, and the last PUBACKs would find it gone.
        pinging = asyncio.ensure_future(link.connection.keep_alive())
        try:
            yield
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)
        await link.connection.disconnect(forget=self._departure.complete)

    def abort(self) -> None:
        """Close the connection at once."""
        if self.link is not None:
            self.link.connection.abort()

    async def _connect(self) -> Connection:
        """A new connection, once kept sync messages are known. While a broker is slow, /readyz and the log say so."""
        m = self._mqtt
        await clocks.fetch(self._config, self._routing, self._decoders)

        def tell() -> None:
            words = f"MQTT broker {m.host}:{m.port}: no answer yet"
            self._health.ready("mqtt", ok=False, why=words)
            log.warning("no MQTT connection", extra={"error": words})

        slow = asyncio.get_running_loop().call_later(_SLOW_SECONDS, tell)
        try:
            return await mqtt.connect(m, self._session)
        finally:
            slow.cancel()

    def _look_for_rival(self, now: float) -> None:
        """FatalError when the broker hangs up again and again: two clients take the session from each other.

        A broker should say so (0x8E), but Mosquitto 2.0.11 says nothing. A broker that restarts as often looks the
        same: a new start of the bridge is right then too, and loses nothing.
        """
        if self.link is None or not self.link.connection.hung_up:
            return
        self.link.connection.hung_up = False
        self._hang_ups.append(now)
        if len(self._hang_ups) == _RIVAL_LOSSES and now - self._hang_ups[0] < _RIVAL_SECONDS:
            raise FatalError(
                f"the MQTT broker ended the connection {_RIVAL_LOSSES} times in {now - self._hang_ups[0]:.0f} s: "
                f"another client probably uses the session {self._session.client_id!r}. Give each bridge a client id "
                "of its own"
            )

    async def _receive(self, connection: Connection) -> None:
        """Take what comes by one connection; returns when the departure is complete. Raises what ends it."""
        first = self.link is None
        link = self.link = Link(connection)
        self._edges.forget()
        self._rebirths.forget()
        BRIDGE_CONNECTIONS.inc()
        self._look_at_terms(connection, first=first)
        wanted, unwanted = self._routing.subscriptions, self._routing.unwanted
        if not self._departure.wanted.is_set():
            connection.subscribe(wanted, unwanted)
        try:
            rebirths = self._rebirths.run(connection)
            async with beside(self._read(link), connection.keep_alive(), self._watch_silence(connection), rebirths):
                await self._departure.depart(link, [*(s.filter for s in wanted), *unwanted])
        except Exception:
            connection.abort()
            raise

    async def _read(self, link: Link) -> NoReturn:
        ready = False
        while True:
            packets = await link.connection.receive()
            if not ready and link.connection.subscribed:
                ready = True
                self._health.ready("mqtt", ok=True)
                log.info("receiving", extra={"session_present": link.connection.terms.session_present})
            if packets:
                self._departure.took(len(packets))
                await self._intake.take(link, packets)
                await asyncio.sleep(0)  # the socket may always hold more: let the other tasks run

    async def _watch_silence(self, connection: Connection) -> NoReturn:
        while True:
            await asyncio.sleep(1)
            silent = connection.silent_seconds
            if connection.subscribed:
                why = f"the MQTT broker has been silent for {silent:.0f} s, to pings too"
                self._health.ready("mqtt", ok=silent < _SILENT_SECONDS, why=why)

    def _look_at_terms(self, connection: Connection, *, first: bool) -> None:
        terms = connection.terms
        if terms.session_expiry < self._session.expiry:
            log.warning(
                "the MQTT broker keeps the session for a shorter time than asked for",
                extra={"seconds": terms.session_expiry, "asked": self._session.expiry},
            )
        if not terms.identifiers:
            log.warning("the MQTT broker has no subscription identifiers: overlapping filters may bring copies")
        self._departure.met(session_present=terms.session_present, first=first)
        if terms.session_present:
            return
        if first:  # a first start and a lost session look the same from here
            log.info("a new MQTT session: it begins with what is published from now on")
        else:
            BRIDGE_SESSIONS_LOST.inc()
            log.error("the MQTT broker has lost the session: the messages that it held for the bridge are gone")
