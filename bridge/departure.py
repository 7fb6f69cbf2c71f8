"""How a bridge leaves for good: nothing new is dealt to its session, what waits there is carried, the session ends."""

import asyncio
import logging
from collections.abc import Iterable

from bridge.delivery import Link
from headrace.errors import FatalError

log = logging.getLogger(__name__)

LEAVE_SECONDS = 10.0  # for leaving at SIGTERM, before what is in flight gets its own time; orchestrators give 30
_ROUNDS = 3
_ROUND_SECONDS = 1.0


class Departure:
    """A bridge's leaving, once `wanted` is set. It outlasts the connections that it takes."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.complete = False  # nothing waits in the session, so it may end
        self.found = False  # whether the broker had the session
        self.messages = 0  # taken since it was wanted

    def met(self, *, session_present: bool, first: bool) -> None:
        """A connection begins. FatalError: the session is gone, with what was yet to be taken from it."""
        if first:
            self.found = session_present
        elif self.wanted.is_set() and not session_present:
            raise FatalError("the MQTT broker has lost the session before all was taken from it: what was left is gone")

    def took(self, messages: int) -> None:
        """So many came."""
        if self.wanted.is_set():
            self.messages += messages

    async def depart(self, link: Link, filters: Iterable[str]) -> None:
        """Wait until it is wanted; then unsubscribe, and wait until the broker has nothing more for us.

        Run beside what reads the connection. Guarantee: all that came by it is in Kafka and acknowledged; the broker
        has read that, has answered since, and had nothing left to send, three times in a row.
        """
        await self.wanted.wait()
        await link.connection.unsubscribe(filters)
        log.info("leaving: unsubscribed; taking what waits in the session")
        empty = 0
        while empty < _ROUNDS:
            before, done = self.messages, not link.window
            await link.connection.ping()
            await asyncio.sleep(_ROUND_SECONDS)
            empty = empty + 1 if done and not link.window and self.messages == before else 0
        self.complete = True
        log.info("leaving: nothing waits in the session any more", extra={"messages": self.messages})

    def check(self, client_id: str) -> None:
        """FatalError: it was wanted, and is not complete."""
        if self.wanted.is_set() and not self.complete:
            raise FatalError(
                f"the MQTT session {client_id!r} stays, and what waits in it: start a bridge with this client id "
                "again, or run `python -m bridge drain` with it"
            )
