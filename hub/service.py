"""The lifetime of hub: its database brought up to date, requests answered until a signal, figures kept."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select

from headrace.config import Config
from headrace.config.model import Hub
from headrace.errors import ConfigError, HeadraceError, TransientError
from headrace.operate import serving
from headrace.operate.newest import Newest
from headrace.runtime.backoff import pauses
from headrace.runtime.health import Health
from headrace.runtime.metrics import (
    HUB_APPLIED,
    HUB_BROKER_VERSION,
    HUB_DEVICES,
    HUB_ISSUER,
    HUB_OUTBOX,
    HUB_UNPROVEN,
    HUB_UNRENEWED,
)
from hub import app, authority, credentials, tables, welcome
from hub.access import Gate
from hub.changes import counter
from hub.context import Bell, Context
from hub.database import Database
from hub.kafka import KafkaSink
from hub.model import State
from hub.oidc import Oidc
from hub.publisher import publisher
from hub.seen import watcher
from hub.watch import ServiceWatch

log = logging.getLogger(__name__)

END_SECONDS = 5  # for requests under way at the end
_FIGURES_SECONDS, _PATIENCE_SECONDS, _RENEWALS_SECONDS = 2.0, 5.0, 60.0


def main(config: Config, stop: threading.Event) -> None:
    """Serve until `stop` is set. ConfigError for a database or an address that can't be used."""
    settings = config.hub
    if settings.serve.database is None:
        raise ConfigError(
            "hub.serve.database: none is given. Give sqlite:////PATH, or a file in hub.serve.database_file"
        )
    signer = authority.read(settings.serve.devices_ca)
    with Health(settings.serve.http, ("database",)) as health, serving.listeners(settings.serve, "hub.serve") as on:
        database = Database(settings.serve.database.get_secret_value())
        try:
            if _migrated(database, health, stop):
                authority.note(database, signer)
                context = Context(
                    database, Gate(settings.serve), Bell(), signer, welcome.of(config), settings.behaviour
                )
                with _beside(config, context, health):
                    asyncio.run(_serve(settings, context, health, on))
        finally:
            database.close()


@contextmanager
def _beside(config: Config, it: Context, health: Health) -> Iterator[None]:
    """Publish, note who is seen, and watch the services, until the end of the block. Hub serves while Kafka is away."""
    database, serve = it.database, config.hub.serve

    def connect() -> KafkaSink:
        with database.read() as connection:
            identity = counter(connection, "identity")
        return KafkaSink(config, identity)

    token = serve.http.token.get_secret_value() if serve.http.token is not None else ""
    it.watch, it.newest = ServiceWatch(serve.watch, token), Newest(config)
    threads = (
        it.watch,
        publisher(database, connect, lambda problem: health.detail("publishing", problem or "ok")),
        watcher(config, database, lambda problem: health.detail("last seen", problem or "ok")),
    )
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.halt()
        for thread in threads:
            thread.join(END_SECONDS)
        it.newest.close()


def _migrated(database: Database, health: Health, stop: threading.Event) -> bool:
    """Bring the tables up to date, waiting for a database that is away. False when told to stop first."""
    for pause in pauses():
        health.progress()
        try:
            database.migrate()
        except TransientError as e:
            health.ready("database", ok=False, why=str(e))
            log.warning("waiting", extra={"for": "database", "error": str(e), "again_in_seconds": round(pause, 1)})
            if stop.wait(pause):
                return False
        else:
            health.ready("database", ok=True)
            return not stop.is_set()
    raise AssertionError("the pauses never end")


async def _serve(settings: Hub, context: Context, health: Health, on: serving.Listeners) -> None:
    context.bell.bind(asyncio.get_running_loop())
    tasks = (
        asyncio.create_task(gauges(context.database, health, context.gate.oidc)),
        asyncio.create_task(renewals(context.database)),
    )
    try:
        await serving.serve(app.make(settings, context), settings.serve.tls, on, context.bell, health, END_SECONDS)
    finally:
        for task in tasks:
            task.cancel()


async def gauges(database: Database, health: Health, oidc: Oidc | None = None) -> None:
    """Say how much there is of what, and whether database and identity provider answer. It never ends by itself."""
    asked = asyncio.create_task(asyncio.to_thread(measure, database))
    while True:
        if oidc is not None:
            problem = oidc.problem()
            health.detail("identity provider", problem or "ok")
            HUB_ISSUER.labels(oidc.issuer).set(not problem)
        await asyncio.wait([asked], timeout=_PATIENCE_SECONDS)
        if not asked.done():
            health.ready("database", ok=False, why=f"no answer for {_PATIENCE_SECONDS:.0f} s or more")
            continue
        error = asked.exception()
        if error is not None and not isinstance(error, HeadraceError):
            raise error
        health.ready("database", ok=error is None, why=str(error or ""))
        await asyncio.sleep(_FIGURES_SECONDS)
        asked = asyncio.create_task(asyncio.to_thread(measure, database))


async def renewals(database: Database) -> None:
    """Say every minute how many devices are late with their next certificate. It never ends by itself."""

    def count() -> None:
        with database.read() as connection:
            HUB_UNRENEWED.set(credentials.unrenewed(connection, time.time_ns() // 1000))

    while True:
        with contextlib.suppress(TransientError):  # `figures` says it
            await asyncio.to_thread(count)
        await asyncio.sleep(_RENEWALS_SECONDS)


def measure(database: Database) -> None:
    """Set the gauges to what the database says."""
    devices, outbox = tables.devices, tables.outbox
    with database.read() as connection:
        grouped = select(devices.c.state, func.count()).group_by(devices.c.state)
        states: dict[str, int] = {row[0]: row[1] for row in connection.execute(grouped)}
        waiting = connection.execute(select(func.count()).where(outbox.c.published.is_(None))).scalar_one()
        versions = {name: counter(connection, name) for name in ("broker", "applied", "unproven")}
    for state in State:
        HUB_DEVICES.labels(state.value).set(states.get(state.value, 0))
    HUB_OUTBOX.set(waiting)
    HUB_BROKER_VERSION.set(versions["broker"])
    HUB_APPLIED.set(versions["applied"])
    HUB_UNPROVEN.set(versions["unproven"])
