"""When a device was seen last: the latest message counts, nothing is missed across a restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from hub import registry, seen, tables
from hub.changes import change
from hub.database import Database
from hub.model import NewDevice
from hub.seen import BEHIND, Message, Sight, starts
from tests.hubworld import lite

PART, OTHER = ("imu.raw", 0), ("imu.raw", 1)
MINUTE = 60_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    it = Database(lite(tmp_path))
    it.migrate()
    with change(it, "joe") as c:
        registry.add(c, [NewDevice(id=i) for i in ("a", "b", "c")])
    yield it
    it.close()


def last(database: Database) -> dict[str, int | None]:
    with database.read() as connection:
        return {row.id: row.last_seen for row in connection.execute(select(tables.devices))}


def test_the_latest_message_of_a_device_counts_and_strangers_do_no_harm(database: Database) -> None:
    sight = Sight()
    sight.take([
        Message(PART, 5, "a", 2 * MINUTE), Message(PART, 6, "a", 3 * MINUTE), Message(OTHER, 9, "a", 1 * MINUTE),
        Message(OTHER, 10, "stranger", 9 * MINUTE), Message(OTHER, 11, "b", 4 * MINUTE),
    ])  # fmt: skip
    sight.note(database)
    assert last(database) == {"a": 3 * MINUTE, "b": 4 * MINUTE, "c": None}
    assert seen._known(database) == {PART: 7, OTHER: 12}
    older = Sight()  # as of a hub that reads again what another has read
    older.take([Message(PART, 5, "a", 2 * MINUTE), Message(PART, 6, "c", 5 * MINUTE)])
    older.note(database)
    assert last(database) == {"a": 3 * MINUTE, "b": 4 * MINUTE, "c": 5 * MINUTE}


def test_who_is_seen_all_the_time_is_noted_once_a_minute_and_not_forgotten(database: Database) -> None:
    sight = Sight()
    for second in range(0, 130, 10):
        sight.take([Message(PART, second, "a", 10 * MINUTE + second * 1_000_000)])
        sight.note(database)
    assert last(database)["a"] == 12 * MINUTE
    sight.take([Message(PART, 200, "a", 13 * MINUTE)])
    sight.note(database)
    assert last(database)["a"] == 13 * MINUTE


def test_it_goes_on_where_it_was_and_begins_at_the_end_where_the_log_has_not_got_that() -> None:
    ends = {PART: (10, 50), OTHER: (0, 7)}
    assert starts(ends, {}) == {PART: 50, OTHER: 7}
    assert starts(ends, {PART: 20, OTHER: 7}) == {PART: 20, OTHER: 7}
    assert starts(ends, {PART: 9, OTHER: 8}) == {PART: 50, OTHER: 7}
    assert starts({PART: (0, BEHIND + 9)}, {PART: 8}) == {PART: BEHIND + 9}
