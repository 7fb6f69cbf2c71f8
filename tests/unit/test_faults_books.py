"""The oracle of the faults at hub: it finds a lake, and an audit log, that do not say what hub's database says."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from headrace.config import Config
from headrace.protocol.names import DEVICE_AUDIT, DEVICE_EVENTS
from hub import outbox, registry, told
from hub.changes import change
from hub.database import Database
from hub.model import Changes, NewDevice
from tests import hubworld
from tests.faults import books
from tests.faults.books import Books, Row
from tests.faults.hub import forgotten
from tests.faults.people import Known


class Said(NamedTuple):
    """Hub's database, and the rows of its streams as the lake has them."""

    kept: Books
    events: list[Row]
    audit: list[Row]


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """Three devices that were added, edited and shut out."""
    url = hubworld.lite(tmp_path_factory.mktemp("books"))
    database = Database(url)
    database.migrate()
    for n in range(3):
        with change(database, "admin") as c:
            registry.add(c, [NewDevice(id=f"board-{n}", tags=["a"], attributes={"place": n})])
            c.record("add", f"board-{n}")
        with change(database, "admin") as c:
            registry.edit(c, f"board-{n}", Changes(firmware="2"))
            c.record("edit", f"board-{n}", {"firmware": "2"})
    with change(database, "admin") as c:
        registry.revoke(c, "board-1")
        c.record("revoke", "board-1")
    rows = [(row.stream, told.reading(row)) for row in outbox.waiting(database)]
    kept = books.read(Config.model_validate({"hub": {"serve": {"database": url}}}))
    database.close()
    return Said(kept, *([r for s, r in rows if s == stream] for stream in (DEVICE_EVENTS, DEVICE_AUDIT)))


def test_what_hub_wrote_agrees(right: Said) -> None:
    assert list(books.disagreements(*right)) == []
    assert list(books.broken_links(right.kept.audit)) == []
    assert (len(right.kept.devices), right.kept.waiting, set(right.kept.passwords)) == (3, 14, {"board-0", "board-2"})


def _lost(it: Said) -> None:
    del it.events[2]


def _twice(it: Said) -> None:
    it.audit.append(it.audit[0])


def _another_device(it: Said) -> None:
    it.events[1]["device_id"] = "board-2"


def _altered(it: Said) -> None:
    it.events[-1]["state"] = "active"


def _altered_audit(it: Said) -> None:
    it.audit[3]["actor"] = "nobody"


def _not_in_the_database(it: Said) -> None:
    it.kept.audit.pop()


def _without_a_device(it: Said) -> None:
    del it.kept.devices["board-0"]


@pytest.mark.parametrize(
    "harm", [_lost, _twice, _another_device, _altered, _altered_audit, _not_in_the_database, _without_a_device]
)
def test_each_difference_is_found(right: Said, harm: Callable[[Said], None]) -> None:
    it = copy.deepcopy(right)
    harm(it)
    assert list(books.disagreements(*it))


def test_a_row_that_was_changed_or_removed_breaks_the_chain(right: Said) -> None:
    changed = copy.deepcopy(right.kept.audit)
    changed[2]["target"] = "board-9"
    removed = copy.deepcopy(right.kept.audit)
    del removed[3]
    assert [len(list(books.broken_links(rows))) > 0 for rows in (changed, removed)] == [True, True]


def test_what_hub_answered_and_does_not_have_is_named(right: Said) -> None:
    def told(**more: Any) -> Known:
        return Known("board-0", firmware="2", acts=["add", "edit"], **more)

    assert list(forgotten(right.kept, [told()])) == []
    lost = [
        Known("board-0", firmware="3", acts=["add", "edit"]),
        Known("board-0", firmware="2", acts=["add", "edit", "edit"]),
        Known("board-0", firmware="2", state="revoked", acts=["add", "revoke"]),
        Known("board-9", acts=["add"]),
    ]
    assert all(list(forgotten(right.kept, [one])) for one in lost)
    once = right.kept.audit[0]
    twice = replace(right.kept, audit=[*right.kept.audit, once])
    assert list(forgotten(twice, [told()])) == ["board-0: add was answered 1 times, and is 2 times in the audit log"]
