"""A hub that dies between any two steps: what it answered stays, and its streams say what its database says.

The database is a real one. A crash is an exception that nothing catches, at any statement, before and after any message
to Kafka, before and after any answer; then everything but the file and what Kafka has is made anew.
"""

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select

from headrace.identity import proofs
from headrace.identity.ca import Authority
from hub import enrolment, outbox, registry, tables
from hub.changes import Change, change, counter
from hub.database import Database
from hub.model import Changes, Enrol, NewDevice, NewEnrolment, Renew, State
from hub.outbox import Row
from hub.publisher import step
from hub.refusal import RefusedError
from hub.told import reading
from tests.enrolling import Key
from tests.hubworld import lite


class Crash(BaseException):
    """The process is gone."""


class Fuse:
    """Crashes at the given one of all steps, counted from the last crash; never when 0."""

    def __init__(self, *crashes: int) -> None:
        self.crashes, self.count = list(crashes), 0

    def tick(self, *_: object) -> None:
        self.count += 1
        if self.crashes and self.count == self.crashes[0]:
            self.crashes.pop(0)
            self.count = 0
            raise Crash


class Kafka:
    """A log that outlives every crash. A crash may come before and after each message."""

    def __init__(self, fuse: Fuse) -> None:
        self.log: list[Row] = []
        self._fuse = fuse

    def send(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._fuse.tick()
            self.log.append(row)
        self._fuse.tick()

    def close(self) -> None: ...


Act = Callable[[Change], object]


def act(name: str, device: str, do: Act) -> Act:
    def whole(c: Change) -> None:
        do(c)
        c.record(name, device)

    return whole


OURS = Authority.make("devices")
OURS = Authority(OURS.pair, days=0.01)  # so short a life that a certificate is to be renewed at once
KEYS = (Key(), Key())
ANSWERED: dict[str, str] = {}  # what the device has in the end


def invite(c: Change) -> None:
    registry.add(c, [NewDevice(id="c", credential="none", state=State.PENDING)])
    ANSWERED["token"] = registry.invite(c, "c", NewEnrolment())
    c.record("add", "c")


def ask(c: Change) -> None:
    ANSWERED["first"] = enrolment.take(c, OURS, Enrol(csr=KEYS[0].csr(), token=ANSWERED["token"])).certificate


def renew(c: Change) -> None:
    csr = KEYS[1].csr()
    signature = proofs.sign(KEYS[0].pem, proofs.renewal("c", csr))
    ANSWERED["next"] = enrolment.take_renewal(c, OURS, Renew(id="c", csr=csr, signature=signature))


ACTS: list[Act] = [
    act("add", "a", lambda c: registry.add(c, [NewDevice(id="a", tags=["t"])])),
    act("import", "headrace-hub", lambda c: registry.add(c, [NewDevice(id=f"b{n}") for n in range(3)])),
    act("edit", "a", lambda c: registry.edit(c, "a", Changes(attributes={"x": 1}))),
    act("rotate", "b1", lambda c: registry.rotate(c, "b1")),
    act("revoke", "b2", lambda c: registry.revoke(c, "b2")),
    act("edit", "b0", lambda c: registry.edit(c, "b0", Changes.model_validate({"state": "quarantined"}))),
]
ENROLMENT: list[Act] = [ask, act("approve", "c", lambda c: registry.approve(c, "c")), ask, renew]


ENGINES: dict[str, Engine] = {}  # by URL
BURNING: list[Fuse] = []  # that of the process that lives


class World:
    """One file, one Kafka, and processes that die."""

    def __init__(self, url: str, fuse: Fuse, acts: list[Act]) -> None:
        self._url, self.fuse, self.kafka, self._acts = url, fuse, Kafka(fuse), acts
        self.answered = 0
        self.database = self._start()

    def _start(self) -> Database:
        """A new process. The engine stays, for its compiled statements, and none of its connections does."""
        database = Database(self._url)
        if self._url not in ENGINES:
            ENGINES[self._url] = database.engine
            event.listen(
                database.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous=OFF")
            )  # no power is lost
            event.listen(database.engine, "before_cursor_execute", lambda *_: BURNING[-1].tick())
            event.listen(database.engine, "commit", lambda *_: BURNING[-1].tick())
        database._engine = ENGINES[self._url]
        database.close()
        BURNING[:] = [self.fuse]
        return database

    def _alive(self, do: Callable[[], object]) -> None:
        """Do it, again and again, until no crash comes in between."""
        while True:
            try:
                do()
                self.fuse.tick()
            except Crash:
                self.database.close()
                self.database = self._start()
            else:
                return

    def run(self) -> None:
        for one in self._acts:
            self._alive(lambda one=one: self._ask(one))  # type: ignore[misc]
            self.answered += 1
            self._alive(lambda: step(self.database, self.kafka))
        self.fuse.crashes.clear()
        while step(self.database, self.kafka):
            pass

    def _ask(self, one: Act) -> None:
        try:
            with change(self.database, "device:c" if one in {ask, renew} else "joe") as c:
                one(c)
        except RefusedError:
            pass  # it was done before the crash, and only the answer was lost

    def check(self) -> None:
        """The oracle."""
        with self.database.read() as connection:
            given = counter(connection, "outbox")
            rows = {r["id"]: dict(r) for r in connection.execute(select(tables.devices)).mappings()}
            audit = connection.execute(select(tables.audit).order_by(tables.audit.c.number)).mappings().all()
        first: dict[int, Row] = {}
        for row in self.kafka.log:
            assert first.setdefault(row.number, row) == row, "a repeat differs from what it repeats"
        assert list(first) == list(range(1, given + 1)), "something is missing, or was told out of order"
        told = {row.key: reading(row) for row in first.values() if row.stream == "device_events"}  # the last one counts
        assert set(told) == set(rows) == ({"a", "b0", "b1", "b2"} if self._acts is ACTS else {"c"})
        for device, kept in rows.items():
            stands = {"state": kept["state"], "tags": kept["tags"], "event_time": kept["changed"]}
            assert {name: told[device][name] for name in stands} == stands
        assert [r["number"] for r in audit] == list(range(1, len(audit) + 1))
        logged = [reading(r) for r in first.values() if r.stream == "device_audit"]
        assert [(r["entry"], r["hash"]) for r in logged] == [(r["number"], r["hash"]) for r in audit]
        assert outbox.waiting(self.database) == []
        assert self.answered == len(self._acts)

    def certificates(self) -> list[str]:
        """Those that the device has, the oldest first. Each act is in the audit log once."""
        c, log = tables.credentials.c, tables.audit.c
        with self.database.read() as connection:
            acts = list(connection.execute(select(log.act).where(log.actor == "device:c")).scalars())
            assert acts == ["ask for a certificate", "enrol", "renew"]
            living = select(c.certificate).where(c.device == "c", c.revoked.is_(None)).order_by(c.number)
            return list(connection.execute(living).scalars())


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    database = Database(lite(folder))
    database.migrate()
    database.close()
    return folder / "hub.sqlite"


@pytest.fixture(scope="module")
def invited(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a device that has a token and waits for approval."""
    folder = tmp_path_factory.mktemp("invited")
    shutil.copy(empty, folder / "hub.sqlite")
    database = Database(lite(folder))
    with change(database, "joe") as c:
        invite(c)
    database.close()
    return folder / "hub.sqlite"


def lived(empty: Path, folder: Path, *crashes: int, acts: list[Act] = ACTS) -> World:
    for name in ("hub.sqlite", "hub.sqlite-wal", "hub.sqlite-shm"):
        (folder / name).unlink(missing_ok=True)
    shutil.copy(empty, folder / "hub.sqlite")
    world = World(lite(folder), Fuse(*crashes), acts)
    world.run()
    world.check()
    world.database.close()
    return world


def test_state_and_streams_agree_after_a_crash_at_any_step(empty: Path, tmp_path: Path) -> None:
    whole = lived(empty, tmp_path)
    steps, messages = whole.fuse.count, len(whole.kafka.log)
    assert steps > 100
    repeated = sum(len(lived(empty, tmp_path, n).kafka.log) > messages for n in range(1, steps + 1))
    assert repeated > 10  # crashes between telling Kafka and noting it


def test_state_and_streams_agree_after_several_crashes(empty: Path, tmp_path: Path) -> None:
    rng = random.Random(12)
    for _ in range(20):
        lived(empty, tmp_path, *(rng.randint(1, 60) for _ in range(6)))


def test_a_token_and_a_renewal_bring_one_certificate_each_with_a_crash_at_any_step(
    invited: Path, tmp_path: Path
) -> None:
    steps = lived(invited, tmp_path, acts=ENROLMENT).fuse.count
    assert steps > 50
    for n in range(1, steps + 1):
        world = lived(invited, tmp_path, n, acts=ENROLMENT)
        assert world.certificates() == [ANSWERED["first"], ANSWERED["next"]], "and it is the one that was answered"
