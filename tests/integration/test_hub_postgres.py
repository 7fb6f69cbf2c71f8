"""Hub on PostgreSQL: the same registry, and several hubs on one database that publish in order."""

import random
import threading
import time
from collections.abc import Iterator, Sequence

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, select

from headrace.errors import TransientError
from headrace.hub.client import RefusedError, device_path
from headrace.identity import proofs
from headrace.identity.ca import Authority
from headrace.protocol.auditlog import Entry, faults
from hub import outbox, tables
from hub.changes import counter
from hub.database import PUBLISHER, Database
from hub.outbox import Row
from hub.publisher import publisher
from tests.browser import Browser
from tests.enrolling import Key, claim, enroll
from tests.hubworld import Served, add, served
from tests.postgres import postgres
from tests.unit.test_hub_api import (  # noqa: F401 - each once more, with the fixture `hub` below
    test_devices_are_found_by_words_tag_group_and_state_page_by_page,
    test_many_are_added_at_once_or_none,
    test_the_broker_says_which_version_it_has,
    test_what_is_known_of_a_device_can_be_changed_piece_by_piece,
)
from tests.unit.test_hub_certificates import (  # noqa: F401
    OURS,
    test_hub_notes_while_the_broker_does_not_go_by_the_list,
    test_one_credential_can_be_ended_alone,
    test_the_list_has_who_was_revoked_and_for_now_who_is_not_active,
    test_two_certificates_live_beside_each_other_and_a_third_ends_the_oldest,
)
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.long]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
def url(server: str) -> str:
    """A database of its own for each test."""
    name = f"hub{time.time_ns()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.rpartition("/")[0] + f"/{name}"


@pytest.fixture
def hub(url: str) -> Iterator[Served]:
    with served(url, OURS) as it:
        yield it


class Log:
    """A Kafka of lists, slow enough for others to come in between."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.lock = threading.Lock()

    def send(self, rows: Sequence[Row]) -> None:
        for row in rows:
            time.sleep(random.uniform(0, 0.001))
            with self.lock:
                self.rows.append(row)

    def close(self) -> None: ...


def test_who_logs_in_at_the_console_of_one_hub_is_known_at_the_others(url: str) -> None:
    with served(url) as one, served(url) as two:
        add(one.admin, "b-1")
        token = one.admin.post("/api/tokens", {"name": "joe", "role": "operator"})["token"]
        here = Browser(one.settings.url)
        assert here.log_in(token).status == 303
        ports = one.settings.url.rpartition(":")[2], two.settings.url.rpartition(":")[2]
        there = Browser(two.settings.url, {k.replace(*ports): v for k, v in here.cookies.items()})
        assert there.press("/devices/b-1", "/devices/b-1/quarantine").status == 303
        assert [there.get(path).status for path in ("/devices?text=b", "/devices?before=c", "/pending")] == [200] * 3
        boss = Browser(two.settings.url)
        code = one.admin.post("/api/logins")["path"].partition("=")[2]
        assert boss.post("/login", {"code": code}).status == 303
        assert "Chain verified" in boss.get("/audit/chain").words
        two.admin.post("/api/tokens/joe/revoke")
        assert {it.get("/devices").status for it in (here, there)} == {303}


def test_of_keys_that_race_at_two_hubs_for_one_token_one_wins(url: str) -> None:
    ours = Authority.make("devices")
    with served(url, ours) as one, served(url, ours) as two:
        token = one.admin.post("/api/devices", {"id": "b", "credential": "token"})["token"]
        keys, got = [Key() for _ in range(8)], list[tuple[int, Key]]()

        def ask(n: int, key: Key) -> None:
            got.append((enroll((one, two)[n % 2].settings.url, key.csr(), token).status, key))

        threads = [threading.Thread(target=ask, args=(n, key)) for n, key in enumerate(keys)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(status for status, _ in got) == [201] + [409] * 7
        (key,) = [key for status, key in got if status == 201]
        again = [enroll(it.settings.url, key.csr(), token).body["certificate"] for it in (one, two)]
        assert again[0] == again[1]
        pair = proofs.claim("lot", 1)
        one.admin.post("/api/claims", {"name": "lot", "certificate": pair.cert, "at_once": True})
        waits = {"id": "c", "serial": "S", "groups": ["lot"], "state": "pending", "credential": "none"}
        one.admin.post("/api/devices", waits)
        assert claim(two.settings.url, Key().csr(), "lot", pair.key, "S").status == 201
        assert one.admin.get(device_path("c"))["state"] == "active"


def test_the_registry_works_as_on_sqlite(url: str) -> None:
    with served(url) as hub:
        password = add(hub.admin, "b-1", tags=["x"], groups=["g"], attributes={"Room": 7}, serial="SN%_1")
        assert len(password) == 24
        assert add(hub.admin, "b-2", tags=["y"]) != password
        hub.admin.patch(device_path("b-1"), {"tags": ["z"], "calibration": {"2026-01-01": {"gain": 1.5}}})
        for query, found in (
            ({"tag": "z"}, ["b-1"]), ({"tag": "x"}, []), ({"text": "room=7 SN%_"}, ["b-1"]), ({"group": "g"}, ["b-1"]),
            ({"state": "active", "limit": 1}, ["b-1"]), ({"after": "b-1"}, ["b-2"]), ({"text": "nothing"}, []),
        ):  # fmt: skip
            assert [d["id"] for d in hub.admin.get("/api/devices", query)["devices"]] == found, query
        assert hub.admin.get(device_path("b-1"))["calibration"] == {"2026-01-01": {"gain": 1.5}}
        hub.admin.post(device_path("b-2", "revoke"))
        with pytest.raises(RefusedError, match="there already"):
            add(hub.admin, "b-1")
        assert set(hub.broker.get("/api/broker")["passwords"]) == {"b-1"}
        fleet = [{"id": f"f{n}"} for n in range(2000)]
        answer = hub.admin.post("/api/devices/import", {"devices": fleet}, timeout=120)  # as long as the command waits
        assert len(answer["passwords"]) == 2000
        rows = hub.admin.get("/api/audit")
        assert list(faults((Entry(**r) for r in rows["rows"]), rows["last"], rows["last"])) == []
        with hub.database.read() as connection:
            assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_several_hubs_number_and_publish_in_order_though_one_dies(url: str) -> None:
    kafka, answered = Log(), list[str]()
    with served(url) as one, served(url) as two:
        publishers = [publisher(h.database, lambda: kafka, lambda _: None) for h in (one, two)]
        for one_of_them in publishers:
            one_of_them.start()

        def call(hub_number: int) -> None:
            hub = (one, two)[hub_number % 2]
            for n in range(40):
                add(hub.admin, f"c{hub_number}-{n}")
                answered.append(f"c{hub_number}-{n}")

        threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        # The sessions of whoever publishes end, as when its machine is gone; the other takes over.
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            ended = connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                f"AND classid = {PUBLISHER >> 32} AND objid = {PUBLISHER & 0xFFFF_FFFF}"
            ).all()
        engine.dispose()
        assert ended == [(True,)], "one of them publishes"
        for thread in threads:
            thread.join(60)
        until(lambda: not outbox.waiting(one.database), 30, "everything is published")
        for one_of_them in publishers:
            one_of_them.halt()
            one_of_them.join(10)
        with one.database.read() as connection:
            given = counter(connection, "outbox")
            ids = set(connection.execute(select(tables.devices.c.id)).scalars())
    first = list(dict.fromkeys(r.number for r in kafka.rows))
    assert first == list(range(1, given + 1))
    assert len(kafka.rows) < 1.5 * given, "one publishes at a time; what the one that died had sent is repeated"
    assert ids == set(answered)
    assert len(answered) == 160


def test_a_change_in_one_hub_reaches_the_agent_at_another(url: str) -> None:
    with served(url) as one, served(url) as two:
        version = two.broker.get("/api/broker")["version"]
        threading.Timer(0.3, add, (one.admin, "b")).start()
        told = two.broker.get("/api/broker", {"after": version, "wait": 10})
        assert list(told["passwords"]) == ["b"]


def test_a_database_that_is_away_is_said_and_waited_for() -> None:
    with postgres() as url:
        database = Database(url)
        database.migrate()
    with pytest.raises(TransientError, match="hub's database"), database.read():
        pass
    database.close()
