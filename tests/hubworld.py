"""Hub as it is served, on a thread of the test's own, with the client that commands use."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import SecretStr

from headrace.config.model import Hub as Settings
from headrace.hub.client import Hub
from headrace.identity.ca import Authority
from headrace.operate.newest import Newest
from headrace.runtime.sockets import listen
from hub import app
from hub.access import Gate
from hub.context import Bell, Context
from hub.database import Database
from hub.watch import ServiceWatch

ADMIN, BROKER = "a" * 30, "b" * 30


@dataclass(frozen=True)
class Served:
    """A served hub: what it stands on, and clients by role."""

    settings: Settings
    database: Database
    admin: Hub
    broker: Hub

    def as_(self, token: str) -> Hub:
        """A client with another token."""
        return Hub(self.settings.model_copy(update={"token": SecretStr(token)}))


def settings(url: str, port: int = 0, **more: Any) -> Settings:
    """The configuration of hub on a database. `more`: of `hub.serve`."""
    serve = {"port": port, "database": url, "admin_token": ADMIN, "broker_token": BROKER, **more}
    # On a busy machine an answer of a hub in the test's own process may take long.
    client = {"url": f"http://127.0.0.1:{port}", "token": ADMIN, "timeout_seconds": 60}
    return Settings.model_validate({**client, "serve": serve})


def lite(folder: Path) -> str:
    """The URL of a database in a folder."""
    return f"sqlite:///{folder / 'hub.sqlite'}"


@contextmanager
def served(
    url: str,
    authority: Authority | None = None,
    watch: ServiceWatch | None = None,
    newest: Newest | None = None,
    **more: Any,
) -> Iterator[Served]:
    """Hub on a database, as long as the block lasts. `more`: of `hub.serve`."""
    database = Database(url)
    database.migrate()
    with listen(settings(url).serve, "hub.serve") as socket:
        it = settings(url, socket.getsockname()[1], **more)
        bell, ready = Bell(), threading.Event()
        server = uvicorn.Server(
            uvicorn.Config(
                app.make(
                    it,
                    Context(
                        database, Gate(it.serve), bell, authority, behaviour=it.behaviour, watch=watch, newest=newest
                    ),
                ),
                log_config=None,
                lifespan="off",
                http="h11",
            )
        )

        async def serve() -> None:
            bell.bind(asyncio.get_running_loop())
            ready.set()
            await server.serve([socket])

        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        ready.wait(10)
        try:
            yield Served(it, database, Hub(it), Hub(it.model_copy(update={"token": it.serve.broker_token})))
        finally:
            server.should_exit = True
            bell.close()
            thread.join(10)
            database.close()


def add(hub: Hub, device: str, **more: Any) -> str:
    """Add a device; returns its password."""
    password: str = hub.post("/api/devices", {"id": device, **more})["password"]
    return password
