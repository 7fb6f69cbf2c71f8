"""Hub's own health: a database that gives no answer makes it not ready, and does not end it."""

import asyncio
import threading
from pathlib import Path

import pytest

from headrace.config import Config
from headrace.config.model import Http
from headrace.errors import ConfigError, TransientError
from headrace.operate import doctor
from headrace.runtime.health import Health
from headrace.runtime.sockets import listen
from hub import service
from hub.database import Database
from tests.hubworld import add, lite, served, settings


def test_a_database_that_gives_no_answer_is_said_and_forgiven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database, frozen = Database(lite(tmp_path)), threading.Event()
    monkeypatch.setattr(service, "_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(service, "_FIGURES_SECONDS", 0.01)
    calls = 0

    def measure(_: Database) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            frozen.wait(10)
        if calls == 3:
            raise TransientError("it is away")

    monkeypatch.setattr(service, "measure", measure)
    health = Health(Http(), ("database",))
    told: list[str] = []
    report = health.ready

    def ready(check: str, ok: bool, why: str = "") -> None:
        report(check, ok, why)
        told.append(why if not ok else "ok")

    monkeypatch.setattr(health, "ready", ready)

    async def some_time() -> None:
        task = asyncio.create_task(service.gauges(database, health))
        while told.count("no answer for 0 s or more") < 2:  # noqa: ASYNC110 - what is told is no event
            await asyncio.sleep(0.01)
        frozen.set()
        while told[-1:] != ["ok"] or "it is away" not in told:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(some_time(), 10))
    assert calls >= 4, "a look that hangs is not asked a second time meanwhile"
    assert told[0] == "ok"
    with health:
        assert health.is_ready()[0]
    database.close()


def test_the_doctor_tries_hub_and_says_when_the_broker_is_behind(tmp_path: Path) -> None:
    with served(lite(tmp_path)) as hub:
        config = Config.model_validate({"hub": hub.settings})
        assert [(f.level, f.text) for f in doctor._hub(config)] == [("good", hub.settings.url)]
        add(hub.admin, "b")
        good, behind = doctor._hub(config)
        assert (good.level, behind.level) == ("good", "warning")
        assert "version 1, and the broker has 0" in behind.text
        hub.broker.post("/api/broker/applied", {"version": 1})
        assert [f.level for f in doctor._hub(config)] == ["good"]
    (bad,) = doctor._hub(config)
    assert (bad.level, bad.subject) == ("bad", "hub")


def test_an_address_that_is_taken_is_refused_with_the_keys(tmp_path: Path) -> None:
    url = lite(tmp_path)
    with listen(settings(url).serve, "hub.serve") as taken, pytest.raises(ConfigError, match=r"hub\.serve\.port"):
        listen(settings(url, taken.getsockname()[1]).serve, "hub.serve")
