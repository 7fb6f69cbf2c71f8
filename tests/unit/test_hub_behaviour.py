"""How hub judges what devices do: one event for an episode, quarantine within limits, and never a service."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from headrace.config.behaviour import Behaviour
from headrace.errors import ConfigError
from headrace.hub.client import device_path
from headrace.operate.behaviour import Fact
from headrace.protocol.names import DEVICE_EVENTS
from hub import behaviour, registry, tables
from hub.changes import Change, change
from hub.database import Database
from hub.model import Changes, NewDevice, State
from hub.outbox import waiting
from hub.told import reading
from tests.hubworld import Served, add, lite, served

SECOND = 1_000_000
RULES = Behaviour.model_validate({"bytes": {"most": 100}, "connects": {"most": 5}, "quarantines_per_hour": 2})
QUIET = RULES.model_copy(update={"bytes": RULES.bytes.model_copy(update={"action": "event"})})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    it = Database(lite(tmp_path))
    it.migrate()
    with change(it, "joe") as c:
        registry.add(c, [NewDevice(id=i) for i in ("a", "b", "c", "d")])
    yield it
    it.close()


def judge(database: Database, rules: Behaviour, *facts: Fact, after: float = 0.0) -> list[str]:
    """What is new, `after` seconds from now."""
    with database.write() as connection:
        c = Change(connection, behaviour.ACTOR, time.time_ns() // 1000 + int(after * SECOND))
        return [f"{o.who} {o.rule} {o.act}" for o in behaviour.judge(c, rules, facts)]


def state(database: Database, device: str) -> str:
    with database.read() as connection:
        return str(registry.get(connection, device)["state"])


def events(database: Database) -> list[dict[str, Any]]:
    """What the stream of events is told, but for the devices' beginning."""
    told = [reading(row) for row in waiting(database) if row.stream == DEVICE_EVENTS]
    return [t for t in told if t["event"] != "added"]


def test_a_device_over_the_limit_is_quarantined_and_the_stream_says_why(database: Database) -> None:
    before = version(database)
    assert judge(database, RULES, Fact("bytes", "a", 101), Fact("bytes", "b", 100)) == ["a bytes quarantined"]
    assert (state(database, "a"), state(database, "b")) == ("quarantined", "active")
    assert version(database) > before, "the broker is to hear of it"
    first, second = events(database)
    assert [first[k] for k in ("device_id", "event", "rule", "value", "most", "state")] == [
        "a", "behaviour", "bytes", 101, 100, "active"
    ]  # fmt: skip
    assert [second[k] for k in ("device_id", "event", "rule", "state", "actor")] == [
        "a", "quarantined", None, "quarantined", "headrace-hub"
    ]  # fmt: skip
    with database.read() as connection:
        log = connection.execute(select(tables.audit.c.act, tables.audit.c.target, tables.audit.c.detail)).all()
        assert behaviour.reasons(connection, ["a", "b"])["a"]["value"] == 101
    assert [tuple(row) for row in log] == [("quarantine", "a", '{"most":100,"rule":"bytes","value":101}')]


def version(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(select(tables.meta.c.number).where(tables.meta.c.name == "broker")).scalar_one())


def test_an_episode_is_one_event_until_it_has_been_quiet_for_a_while(database: Database) -> None:
    over = Fact("bytes", "a", 500)
    assert judge(database, QUIET, over) == ["a bytes event"]
    for after in (10, 100, 200, 300):  # still going on
        assert judge(database, QUIET, over, after=after) == []
    assert judge(database, QUIET, over, after=300 + behaviour.CALM_SECONDS + 1) == ["a bytes event"]
    assert judge(database, QUIET, Fact("connects", "a", 6), after=430) == ["a connects event"]
    assert [e["event"] for e in events(database)] == ["behaviour"] * 3
    assert state(database, "a") == "active"


def test_only_active_devices_that_hub_knows_are_judged(database: Database) -> None:
    with change(database, "joe") as c:
        registry.revoke(c, "b")
    facts = [Fact("bytes", who, 10**9) for who in ("headrace", "headrace-bridge", "stranger", "b")]
    before = version(database)
    assert judge(database, RULES, *facts, Fact("nonsense", "a", 9), Fact("silence", "a", 10**9)) == []
    assert version(database) == before


def test_rules_quarantine_so_many_devices_in_an_hour_and_no_more(database: Database) -> None:
    facts = [Fact("bytes", who, 200) for who in "abcd"]
    assert judge(database, RULES, *facts) == [
        "a bytes quarantined", "b bytes quarantined", "c bytes withheld", "d bytes withheld"
    ]  # fmt: skip
    assert [state(database, d) for d in "abcd"] == ["quarantined"] * 2 + ["active"] * 2
    assert judge(database, RULES, *facts, after=60) == []
    later = 3600 + 60
    assert judge(database, RULES, *facts, after=later) == ["c bytes quarantined", "d bytes quarantined"]


def test_who_is_let_in_again_counts_anew(database: Database) -> None:
    judge(database, RULES, Fact("bytes", "a", 200))
    with change(database, "joe") as c:
        registry.edit(c, "a", Changes(state=State.ACTIVE))
    assert judge(database, RULES, Fact("bytes", "a", 300), after=5) == ["a bytes quarantined"]


def test_an_address_is_an_event_and_no_device(database: Database) -> None:
    assert judge(database, RULES, Fact("refused", "a", 500)) == ["a refused event"]
    assert state(database, "a") == "active"
    assert events(database) == []


def test_silence_is_told_once_and_not_while_nothing_at_all_arrives(database: Database) -> None:
    rules = Behaviour.model_validate({"silence": {"most": 600, "action": "event"}})
    now = time.time_ns() // 1000

    def seen(**ago: int) -> None:
        with database.write() as connection:
            for device, seconds in ago.items():
                row = update(tables.devices).where(tables.devices.c.id == device)
                connection.execute(row.values(last_seen=now - seconds * SECOND))

    def look() -> list[str]:
        with database.write() as connection:
            return [o.who for o in behaviour.silent(Change(connection, behaviour.ACTOR, now), rules)]

    seen(a=700, b=900)
    assert look() == [], "nothing has arrived at all: it is not the devices"
    seen(c=10)
    assert look() == ["a", "b"], "d was never seen"
    assert look() == []
    seen(a=5)
    assert look() == []
    seen(a=650)
    assert look() == ["a"]
    assert [e["event"] for e in events(database)] == ["behaviour"] * 3


def test_episodes_that_ended_long_ago_are_forgotten(database: Database) -> None:
    row = {"rule": "bytes", "who": "a", "value": 1, "most": 1, "act": "event", "begun": 1, "seen": 1, "ended": 1}
    with database.write() as connection:
        connection.execute(insert(tables.episodes).values(row))
    judge(database, RULES)
    with database.read() as connection:
        assert connection.execute(select(tables.episodes)).all() == []


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    with served(lite(tmp_path)) as it:
        yield it


def test_the_agent_reports_over_http_and_a_person_sees_why(hub: Served) -> None:
    add(hub.admin, "board-01")
    report = {"facts": [{"rule": "bytes", "who": "board-01", "value": 1 << 30}]}
    assert hub.broker.post("/api/broker/behaviour", report) == {"shut_out": ["board-01"]}
    assert hub.broker.post("/api/broker/behaviour", report) == {"shut_out": ["board-01"]}, "it is told again"
    assert hub.broker.post("/api/broker/behaviour", {"facts": []}) == {"shut_out": []}
    assert "board-01" not in hub.broker.get("/api/broker")["passwords"]
    shown = hub.admin.get(device_path("board-01"))
    assert (shown["state"], shown["quarantine"]["rule"], shown["quarantine"]["value"]) == (
        "quarantined", "bytes", 1 << 30
    )  # fmt: skip
    assert hub.admin.get("/api/devices")["devices"][0]["quarantine"]["most"] == Behaviour().bytes.most
    assert hub.admin.patch(device_path("board-01"), {"state": "active"})["quarantine"] is None
    assert hub.admin.get(device_path("board-01"))["quarantine"] is None
    with pytest.raises(ConfigError, match="needs broker"):
        hub.admin.post("/api/broker/behaviour", report)
