"""What requests share: the database, the gate, and the bell that wakes those who wait for a change."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from headrace.config.behaviour import Behaviour
from headrace.identity.ca import Authority
from headrace.operate.newest import Newest
from hub.access import Caller, Gate
from hub.database import Database
from hub.refusal import RefusedError
from hub.watch import ServiceWatch
from hub.welcome import NOWHERE, Welcome


class Bell:
    """Wakes waiting coroutines of one event loop. `ring` may be called from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next = asyncio.Event()
        self.closed = False  # the service ends: waiting is of no use

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ring on this loop from now on."""
        self._loop = loop

    def ring(self) -> None:
        """Wake all that wait now."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ring)

    def close(self) -> None:
        """Wake all, for good."""
        self.closed = True
        self.ring()

    async def wait(self, seconds: float) -> None:
        """Until the next ring, or for `seconds`."""
        try:
            await asyncio.wait_for(self._next.wait(), seconds)
        except TimeoutError:
            return

    def _ring(self) -> None:
        rung, self._next = self._next, asyncio.Event()
        rung.set()


@dataclass
class Context:
    """What every request may use."""

    database: Database
    gate: Gate
    bell: Bell = field(default_factory=Bell)
    authority: Authority | None = None  # that signs the certificates of devices
    welcome: Welcome = NOWHERE
    behaviour: Behaviour = field(default_factory=Behaviour)
    watch: ServiceWatch | None = None  # how the other services are
    newest: Newest | None = None  # the newest readings

    def caller(self, address: str, header: str) -> Caller:
        """Who sends this Authorization header from this address. RefusedError as Gate.caller raises it."""
        with self.database.read() as connection:
            return self.gate.caller(connection, address, header)


def context_of(request: Request) -> Context:
    """The context of the application that got this request."""
    return cast("Context", request.app.state.context)


def address_of(request: Request) -> str:
    """The IP address that a request comes from."""
    return request.client.host if request.client is not None else ""


Shared = Annotated[Context, Depends(context_of)]


def allow(role: str) -> Callable[[Request], Caller]:
    """A dependency that lets callers with `role`, or one above it, pass, and returns who calls."""

    def check(request: Request) -> Caller:
        caller = context_of(request).caller(address_of(request), request.headers.get("authorization", ""))
        if not caller.may(role):
            raise RefusedError(
                403, f"{caller.name} is {caller.role}, and this needs {role}. Ask an admin for a token with that role"
            )
        return caller

    return check


Viewer = Annotated[Caller, Depends(allow("viewer"))]
Operator = Annotated[Caller, Depends(allow("operator"))]
Admin = Annotated[Caller, Depends(allow("admin"))]
Broker = Annotated[Caller, Depends(allow("broker"))]
