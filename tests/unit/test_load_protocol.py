"""Loading as a whole: whatever dies and when, each row of a file is in Kafka once for its reader, or a letter."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.errors import ConfigError
from headrace.readers.apart import Apart
from headrace.uploads.profile import FieldFrom
from processors.derive import loading as load
from tests.profiles import examples
from tests.unit.clean_world import CONTRACT, Process
from tests.unit.lives import LIVES, change_hands, live, lives_of, wake
from tests.unit.load_world import (
    KINDS,
    PROFILE,
    RAW,
    SOURCES,
    Here,
    LoadWorld,
    TwoRows,
    check_whole,
    loading,
    order,
    taken,
    temporary,
    upload,
)

ORDERS = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from([0, 0, 0, 1, 2])), max_size=6)


def plain(*kinds: str) -> list[tuple[str, int]]:
    return [(kind, 0) for kind in kinds]


def world_of(one: list[tuple[str, int]], two: list[tuple[str, int]] | None = None) -> LoadWorld:
    """A file's orders lie in one partition: its device's."""
    world = LoadWorld()
    world.emit(SOURCES[0], one)
    world.emit(SOURCES[1], [it for it in two or [] if it[0] not in {kind for kind, _ in one}])
    return world


def test_rows_are_sent_in_order_with_their_numbers() -> None:
    world = world_of(plain("mixed", "five"))
    Process(world, loading).run_dry()
    check_whole(world)
    assert [(src.offset, src.item) for src, _ in taken(world, 0)] == [
        *((0, i) for i in (0, 2, 3, 5, 6)),
        *((1, i) for i in range(5)),
    ]


@given(ORDERS, ORDERS, LIVES, ORDERS)
@example(plain("long"), [], [(9, True), (14, True), (20, False)], plain("long"))
@example(plain("mixed", "mixed"), [], [(12, True)], [])
@example(plain("breaks", "breaks"), [], [(12, True)], plain("breaks"))
def test_crashes_anywhere_neither_lose_nor_double(
    one: list[tuple[str, int]], two: list[tuple[str, int]], lives: list[tuple[int, bool]], more: list[tuple[str, int]]
) -> None:
    """Between any two produces, deliveries, flushes, commits and receipts; a zombie's rows arrive among its heir's.

    The same file may be ordered again at any time.
    """
    world = world_of(one, two)
    lives_of(world, lives, loading)
    taken_by_two = {kind for kind, _ in two} - {kind for kind, _ in one}
    world.emit(SOURCES[0], [it for it in more if it[0] not in taken_by_two])
    lives_of(world, lives, loading)
    check_whole(world)


@examples(0.8)
@given(ORDERS, ORDERS, st.integers(1, 80))
def test_a_zombies_late_commit_is_refused_and_changes_nothing(
    one: list[tuple[str, int]], two: list[tuple[str, int]], until: int
) -> None:
    world = world_of(one, two)
    zombie = live(world, until, make=loading)
    Process(world, loading).run_dry()
    before = dict(world.kafka.committed)
    if zombie is not None:
        wake(zombie)
    assert world.kafka.committed == before
    check_whole(world)


@examples(0.8)
@given(ORDERS, ORDERS, st.integers(1, 6), st.sampled_from(["revoke", "lose"]), st.booleans(), st.integers(0, 9))
def test_a_partition_that_changes_hands_in_the_middle_of_a_file(
    one: list[tuple[str, int]], two: list[tuple[str, int]], turns: int, how: str, back: bool, work: int
) -> None:
    """Kafka confirms late; while we wait, another member has the partition, deals with it, and may hand it back."""
    world = world_of(one, two)
    change_hands(world, loading, SOURCES[0], turns, how, back=back, work=work)
    check_whole(world)


def test_the_next_one_goes_on_behind_the_last_row_that_is_committed() -> None:
    world = world_of(plain("long"))
    first = Process(world, loading)
    while SOURCES[0] not in world.kafka.committed:
        first.turn()
    _, note = world.note(SOURCES[0])
    assert note.last.item == 3
    Process(world, loading).run_dry()
    check_whole(world)
    assert len(world.kafka.log(RAW, 0).records) == 11  # none was sent twice


def test_one_that_is_loaded_is_not_loaded_again() -> None:
    world = world_of(plain("five"))
    Process(world, loading).run_dry()
    del world.kafka.committed[SOURCES[0]]  # its offsets are forgotten
    world.emit(SOURCES[0], plain("five"))
    Process(world, loading).run_dry()
    assert len(world.kafka.log(RAW, 0).records) == 5
    assert len([key for key in world.store if key.startswith(f"_uploads/receipts/{upload('five')}/")]) == 1


def test_one_that_broke_off_goes_on_where_it_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(plain("breaks"))
    Process(world, loading).run_dry()
    whole = b"gbggg"
    monkeypatch.setattr("headrace.uploads.evidence.Evidence._fetch", lambda _, __, path, ___: path.write_bytes(whole))
    world.emit(SOURCES[0], plain("breaks"))
    Process(world, loading).run_dry()
    assert [event[-1] for _, event in taken(world, 0)] == [0, 2, 3, 4]


def test_no_temporary_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    world = world_of(plain("five", "breaks", "missing", "long"))
    first = Process(world, loading)
    first.turn()
    first.client.revoke(SOURCES[0])
    first.turn()
    assert temporary(tmp_path) == []
    Process(world, loading).run_dry()
    assert temporary(tmp_path) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        for pid in (gone.pid, other.pid, os.getpid(), "strange"):
            (tmp_path / f"headrace-upload-{pid}-abc").write_text("x")
        load.sweep()
        assert {p.name.split("-")[2] for p in temporary(tmp_path)} == {str(other.pid), "strange"}
    finally:
        other.communicate(b"\n")


def test_a_file_that_can_not_be_mapped_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = list[TwoRows]()
    monkeypatch.setattr(TwoRows, "close", lambda it: closed.append(it))  # noqa: PLW0108 - it must be bound
    path = tmp_path / "file"
    path.write_text("ggg")
    absent = PROFILE.model_copy(update={"fields": {"x": FieldFrom(column="absent")}})
    with pytest.raises(ConfigError, match="absent"):
        load.Loading(cast("Apart", Here()), order("five"), absent, CONTRACT, path, 0)
    assert len(closed) == 1
