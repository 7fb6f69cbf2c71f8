"""How a bridge leaves for good: it unsubscribes, carries the messages that wait in its session, and ends it."""

import asyncio
import logging
from collections.abc import Iterable

from bridge.delivery import Link
from headrace.errors import FatalError

log = logging.getLogger(__name__)

LEAVE_SECONDS = 10.0  # for leaving at SIGTERM; what is in flight then has its own time. Orchestrators give 30
_ROUNDS = 3
_ROUND_SECONDS = 1.0


class Departure:
    """A bridge's leaving, which begins when `wanted` is set. It may take several connections."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.complete = False  # nothing waits in the session, so it may end
        self.found = False  # whether the broker had the session
        self.messages = 0  # taken since it was wanted

    def met(self, *, session_present: bool, first: bool) -> None:
        """A connection has begun. FatalError: the session is gone, and so are the messages that waited in it."""
        if first:
            self.found = session_present
        elif self.wanted.is_set() and not session_present:
            raise FatalError("the MQTT broker lost the session before it was empty: the messages left in it are gone")

    def took(self, messages: int) -> None:
        """Count messages received."""
        if self.wanted.is_set():
            self.messages += messages

    async def depart(self, link: Link, filters: Iterable[str]) -> None:
        """Wait until leaving is wanted; then unsubscribe, and wait until the broker has no more messages for us.

        Another task must read the connection meanwhile. Guarantee at the return: everything that came is in Kafka and
        acknowledged, the broker has read the acknowledgements, and three times in a row it then had nothing to send.
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
        """FatalError: leaving was wanted, and is not complete."""
        if self.wanted.is_set() and not self.complete:
            raise FatalError(
                f"the MQTT session {client_id!r} stays in place, and messages wait in it: start a bridge with this "
                "client id again, or run `python -m bridge drain` with it"
            )
