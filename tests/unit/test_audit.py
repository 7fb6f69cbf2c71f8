"""The audit log: a row that is changed, removed or inserted is found, and named."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from headrace.protocol.auditlog import FIRST, Entry, entry, faults
from tests.hubworld import Served, add, lite, served


def log(rows: int) -> list[Entry]:
    out: list[Entry] = []
    for n in range(1, rows + 1):
        detail = {"ü": [n, None], "a": "\u2028"}
        out.append(entry(n, 1_000 * n, "joe", "add", f"b{n}", detail, out[-1].hash if out else FIRST))
    return out


def test_a_log_that_nobody_touched_has_no_fault() -> None:
    assert list(faults(log(20), 20, 20)) == []
    assert list(faults([], 0, 0)) == []
    assert list(faults(log(20), 18, 20)) == []  # rows that were written while it was read


@pytest.mark.parametrize("field", Entry._fields[1:])
def test_a_row_that_was_changed_is_named(field: str) -> None:
    rows = log(9)
    old = getattr(rows[4], field)
    changed: dict[str, Any] = {field: old + 100 if isinstance(old, int) else old + "x"}
    rows[4] = rows[4]._replace(**changed)
    found = list(faults(rows, 9, 9))
    assert found
    assert any("row 5" in line for line in found[:2])


def test_a_row_whose_hash_was_made_anew_does_not_fit_to_the_next() -> None:
    rows = log(9)
    forged = rows[4]._replace(actor="nobody")
    rows[4] = forged._replace(hash=forged.right_hash)
    assert list(faults(rows, 9, 9)) == ["row 6 does not follow row 5: one of them was exchanged"]


def test_rows_that_were_removed_are_named_also_at_the_ends() -> None:
    rows = log(9)
    assert list(faults(rows[:3] + rows[4:], 9, 9)) == ["row 4 was removed"]
    assert list(faults(rows[2:], 9, 9)) == ["rows 1 to 2 were removed"]
    assert list(faults(rows[:-2], 9, 9)) == ["rows 8 to 9 were removed"]
    assert list(faults([], 9, 9)) == ["rows 1 to 9 were removed"]


def test_a_row_that_was_inserted_is_named_at_the_end_and_between() -> None:
    rows = log(9)
    assert list(faults(rows, 8, 8)) == ["row 9 was inserted: hub has written rows up to 8"]
    extra = entry(5, 1, "joe", "add", "x", {}, rows[3].hash)
    moved = [*rows[:4], extra, *(r._replace(number=r.number + 1) for r in rows[4:])]
    assert "row 6 does not follow row 5" in next(faults(moved, 9, 10))


@pytest.mark.clause("CR 2.8")
def test_any_one_change_of_any_row_is_found() -> None:
    rng = random.Random(3)
    for _ in range(300):
        rows = log(8)
        at, field = rng.randrange(8), rng.choice(Entry._fields)
        other = getattr(rng.choice(rows), field)
        changed = rows[at]._replace(**{field: other})
        assert (changed == rows[at]) == (list(faults([*rows[:at], changed, *rows[at + 1 :]], 8, 8)) == [])


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    with served(lite(tmp_path)) as it:
        yield it


@pytest.mark.clause("CR 2.8")
def test_hub_writes_a_log_in_which_a_changed_database_shows(hub: Served) -> None:
    for n in range(4):
        add(hub.admin, f"b{n}", tags=["ü"])

    def wrong() -> list[str]:
        found = hub.admin.get("/api/audit")
        return list(faults((Entry(**r) for r in found["rows"]), found["last"], found["last"]))

    assert wrong() == []
    with hub.database.write() as connection:
        connection.execute(text("UPDATE audit SET actor = 'eve' WHERE number = 2"))
    assert wrong() == ["row 2 was changed: eve add b1: its hash is that of other words"]
    with hub.database.write() as connection:
        connection.execute(text("DELETE FROM audit WHERE number = 2"))
    assert wrong() == ["row 2 was removed"]
