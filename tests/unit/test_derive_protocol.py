"""derive's protocol as a whole: whatever dies and when, each clean reading is its rows, a letter or nothing, once."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.errors import ConfigError, FatalError
from headrace.kafka import headers_of
from headrace.protocol.clean_note import in_force
from headrace.protocol.versions import digest_of
from headrace.protocol.wire import provenance
from processors.avro.codec import Codec
from tests.profiles import examples
from tests.unit.clean_world import CLEAN, Make, Process
from tests.unit.derive_world import (
    RAW,
    SOURCES,
    TARGET,
    DeriveWorld,
    Function,
    Kind,
    check_whole,
    cleaning_made,
    deriving,
    function,
    row_of,
    taken,
)
from tests.unit.lives import LIVES, change_hands, live, live_refused, lives_of, wake

TEXTS = {"a": "a 4 40", "b": "b 3 5", "c": "c 1 40", "d": "d 6 20"}  # c makes none; b refuses much
FUNCTIONS = {name: function(text) for name, text in TEXTS.items()}
A = {"a": FUNCTIONS["a"]}
X = st.integers(0, 50)  # some are refused
KINDS: st.SearchStrategy[Kind] = st.one_of(
    X, X, X, st.sampled_from(["junk", "empty", "cut", "unknown", "gap", "stranger"])
)
ROWS = st.lists(st.tuples(KINDS, st.sampled_from([0, 0, 0, 1, 3])), max_size=9)


@pytest.fixture(scope="module")
def makes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Make]:
    folder = tmp_path_factory.mktemp("functions")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    return {name: deriving(folder / name) for name in TEXTS} | {"clean": cleaning_made(folder / "a")}


def world_of(*records: list[tuple[Kind, int]]) -> DeriveWorld:
    world = DeriveWorld()
    for partition, kinds in zip(SOURCES, records, strict=False):
        world.emit(partition, kinds)
    return world


def plain(*xs: Kind) -> list[tuple[Kind, int]]:
    return [(x, 0) for x in xs]


@given(ROWS, ROWS, LIVES, ROWS)
def test_crashes_anywhere_neither_lose_nor_double(
    makes: dict[str, Make],
    one: list[tuple[Kind, int]],
    two: list[tuple[Kind, int]],
    lives: list[tuple[int, bool]],
    more: list[tuple[Kind, int]],
) -> None:
    """Between any two produces, deliveries, flushes and commits; a zombie's late rows arrive among its heir's."""
    world = world_of(one, two)
    lives_of(world, lives, makes["a"])
    world.emit(SOURCES[0], more)
    lives_of(world, lives, makes["a"])
    check_whole(world, A)


# A process: its function, its contract, its steps to live, and what clean emits before the next one begins.
CHANGES = st.lists(st.tuples(st.sampled_from([*TEXTS]), st.sampled_from([8, 9]), st.integers(1, 60), ROWS), max_size=6)


@examples(0.8)
@example(plain(2, 3), [("a", 8, 12, []), ("d", 8, 9, []), ("a", 8, 12, [])])  # a reading's rows were emitted in part
@example(plain(9, 9), [("b", 8, 14, []), ("c", 9, 5, [])])  # a letter was, and then none made
@given(ROWS, CHANGES)
def test_a_change_of_the_function_or_the_contract_between_crashes_takes_effect_between_readings(
    makes: dict[str, Make], one: list[tuple[Kind, int]], lives: list[tuple[str, int, int, list[tuple[Kind, int]]]]
) -> None:
    """All rows of a reading are of one version, and what is made again is the same."""
    world = world_of(one)
    for name, schema_id, until, more in lives:
        world.newest = schema_id
        live_refused(world, makes[name], "derive", until)
        world.emit(SOURCES[0], more)
    noted = world.note(SOURCES[0])[1].versions if SOURCES[0] in world.kafka.committed else ()
    last = in_force(noted, 10**9) or f"{digest_of(TEXTS['a'])}.8"
    name = next(name for name, text in TEXTS.items() if digest_of(text) == last.partition(".")[0])
    world.newest = int(last.partition(".")[2])
    Process(world, makes[name]).run_dry()  # the version that derive was left in
    check_whole(world, FUNCTIONS)
    world.values((RAW, 0))  # fails where a row was made again by another version


@examples(0.6)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=10), st.integers(1, 50), st.integers(1, 50))
def test_readings_below_the_switch_are_by_the_old_function_and_from_it_on_by_the_new(
    makes: dict[str, Make], xs: list[int], until: int, again: int
) -> None:
    world = world_of(plain(*xs))
    live_refused(world, makes["a"], "derive", until)
    seen = [world.source(m).offset for m in world.kafka.log(RAW, 0).records]
    at, _ = world.kafka.committed.get(SOURCES[0], (0, ""))
    switch = max([at, *(offset + 1 for offset in seen)])
    live_refused(world, makes["d"], "derive", again)
    Process(world, makes["d"]).run_dry()
    assert [(r.src.offset, r.by) for r in taken(world, 0)] == [
        (i, "a" if i < switch else "d") for i, x in enumerate(xs) for _ in range(x % (4 if i < switch else 6))
    ]


@examples(0.8)
@given(ROWS, ROWS, st.integers(1, 60))
def test_a_zombies_late_commit_is_refused_and_changes_nothing(
    makes: dict[str, Make], one: list[tuple[Kind, int]], two: list[tuple[Kind, int]], until: int
) -> None:
    world = world_of(one, two)
    zombie = live(world, until, make=makes["a"])
    Process(world, makes["a"]).run_dry()
    before = dict(world.kafka.committed)
    if zombie is not None:
        wake(zombie)
    assert world.kafka.committed == before
    check_whole(world, A)


@examples(0.8)
@given(ROWS, ROWS, st.integers(1, 4), st.sampled_from(["revoke", "lose"]), st.booleans(), st.integers(0, 9))
def test_a_partition_that_changes_hands_in_the_middle_of_a_batch(
    makes: dict[str, Make],
    one: list[tuple[Kind, int]],
    two: list[tuple[Kind, int]],
    turns: int,
    how: str,
    back: bool,
    work: int,
) -> None:
    """Kafka confirms late; while we wait, another member has the partition, deals with it, and may hand it back."""
    world = world_of(one, two)
    change_hands(world, makes["a"], SOURCES[0], turns, how, back=back, work=work)
    check_whole(world, A)


@examples(0.6)
@given(ROWS, LIVES, LIVES, st.integers(1, 2))
def test_clean_takes_each_derived_row_once_whatever_dies(
    makes: dict[str, Make],
    one: list[tuple[Kind, int]],
    derives: list[tuple[int, bool]],
    cleans: list[tuple[int, bool]],
    times: int,
) -> None:
    """derive dies and emits again, while clean does the same; what lies far apart is dropped by its position."""
    world = world_of(one)
    for _ in range(times):
        lives_of(world, derives, makes["a"])
        lives_of(world, cleans, makes["clean"])
        world.emit(SOURCES[0], one)
    Process(world, makes["a"]).run_dry()
    Process(world, makes["clean"]).run_dry()
    check_whole(world, A)
    records = {m.offset(): m for m in world.kafka.log(RAW, 0).records}
    rows = [row_of(records[it.offset], world.source(records[it.offset])) for it in world.rows((TARGET, 0))]
    assert rows == taken(world, 0)
    assert world.chained((TARGET, 0))
    counts = world.note((RAW, 0))[1].counts if records else None
    assert counts is None or (counts.kept, counts.repeated) == (len(rows), len(records) - len(rows))


def test_a_row_keeps_the_key_and_when_the_reading_was_received(makes: dict[str, Make]) -> None:
    world = world_of(plain(2))
    (m,) = world.kafka.log(CLEAN, 0).records
    m.set_headers([("other", b"x"), provenance(headers_of(m))._replace(received_at=17).header()])
    Process(world, makes["a"]).run_dry()
    for row in world.kafka.log(RAW, 0).records:
        ((name, _),) = headers_of(row)
        assert (row.key(), name, provenance(headers_of(row)).received_at) == (b"d", "provenance", 17)


def test_a_hole_in_what_it_reads_stops_derive(makes: dict[str, Make]) -> None:
    world = world_of(plain(1, 2, 3, 2))
    del world.kafka.log(CLEAN, 0).records[2]
    with pytest.raises(FatalError, match="a reading is missing"):
        Process(world, makes["a"]).run_dry()
    assert {world.source(m).offset for m in world.kafka.log(RAW, 0).records} <= {0, 1}


def test_a_refused_delivery_ends_derive_without_a_commit_of_it(makes: dict[str, Make]) -> None:
    world = world_of(plain(1, 2, 3))
    process = Process(world, makes["a"])
    process.producer.refuse = 1
    with pytest.raises(FatalError, match="1 records were refused"):
        process.run_dry()
    assert world.note(SOURCES[0])[0] <= 1
    with pytest.raises(FatalError, match="a reading is missing"):
        taken(world, 0)  # what came behind the refused row is not taken for whole


def test_a_clean_topic_made_anew_stops_derive(makes: dict[str, Make]) -> None:
    world = world_of(plain(1, 2, 3))
    Process(world, makes["a"]).run_dry()
    world.topic_id = "B" * 22
    with pytest.raises(FatalError, match="created again"):
        Process(world, makes["a"]).run_dry()


def test_offsets_that_expired_begin_at_the_logs_start_and_nothing_is_doubled(makes: dict[str, Make]) -> None:
    world = world_of(plain(1, 2, 3, "stranger", 50, 2, 4))
    Process(world, makes["a"]).run_dry()
    before = taken(world, 0)
    world.kafka.committed.clear()
    Process(world, makes["a"]).run_dry()
    assert taken(world, 0) == before
    check_whole(world, A, chained=False)


def test_offsets_that_expired_with_the_topic_are_told_apart_by_the_rows_event_ids(makes: dict[str, Make]) -> None:
    world = world_of(plain(1, 2, 3))
    Process(world, makes["a"]).run_dry()
    other = world_of(plain(1), plain(7, 7, 7))
    world.kafka.logs[CLEAN, 0] = other.kafka.log(CLEAN, 1)
    world.kafka.committed.clear()
    world.kafka.log(CLEAN, 0).records.pop(0)
    with pytest.raises(FatalError, match=r"nothing is committed, and made\.raw holds a row"):
        Process(world, makes["a"]).run_dry()


def test_a_version_whose_text_is_gone_stops_derive_with_the_way_out(makes: dict[str, Make]) -> None:
    world = world_of(plain(2, 3, 2))
    for until in range(1, 60):  # until it has emitted a row, and committed none
        live_refused(world, makes["a"], "derive", until)
        if world.kafka.log(RAW, 0).records:
            break
    world.store.clear()
    with pytest.raises(ConfigError, match=r"streams\.made: rows are to be made again.*not in the store.*start derive"):
        Process(world, makes["d"]).run_dry()
    Process(world, makes["a"]).run_dry()
    Process(world, makes["d"]).run_dry()
    check_whole(world, A)


def test_the_text_lies_in_the_store_before_its_version_is_committed(makes: dict[str, Make]) -> None:
    world = world_of(plain(2))
    live_refused(world, makes["a"], "derive", 1)
    for until in range(1, 12):
        live_refused(world, makes["a"], "derive", until)
        if SOURCES[0] in world.kafka.committed:
            break
        assert not world.kafka.log(RAW, 0).records
    assert world.store == {f"_transforms/{digest_of(TEXTS['a'])}.py": TEXTS["a"].encode()}
    assert world.note(SOURCES[0])[1].versions[0].digest == f"{digest_of(TEXTS['a'])}.8"


def test_a_row_that_the_topic_would_not_take_refuses_its_reading_whole(
    makes: dict[str, Make], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, write = world_of(plain(3, 2)), Codec.write

    def wide(it: Codec, schema_id: int, row: Mapping[str, Any]) -> bytes:
        large = row.get("of") == 3 and row["item"] == 2
        return write(it, schema_id, {**row, "by": "a" * 999_900} if large else row)

    monkeypatch.setattr(Codec, "write", wide)
    Process(world, makes["a"]).run_dry()
    assert Counter(r.src.offset for r in taken(world, 0)) == {1: 2}
    (letter,) = world.kafka.log("dead-letters").records
    about = dict(headers_of(letter))
    assert about["reason"] == b"too_large"
    assert b"a row made of the reading has 1,000" in (about["detail"] or b"")


@pytest.mark.parametrize("gone", [8, 9])
def test_a_contract_that_the_registry_has_lost_or_that_is_none_is_said_before_anything_is_made(
    makes: dict[str, Make], gone: int
) -> None:
    world = world_of(plain(2))
    world.newest = gone
    world.schemas[gone] = '"string"'
    with pytest.raises(ConfigError, match=rf"streams\.made: .*schema {gone}"):
        Process(world, makes["a"]).run_dry()
    assert not world.kafka.committed


def test_rows_to_be_made_again_with_a_contract_that_is_gone_stop_derive(makes: dict[str, Make]) -> None:
    world = world_of(plain(2, 3, 2))
    for until in range(1, 60):
        live_refused(world, makes["a"], "derive", until)
        if world.kafka.log(RAW, 0).records:
            break
    world.newest = 9
    del world.schemas[8]
    with pytest.raises(ConfigError, match=r"streams\.made: .*no schema 8"):
        Process(world, makes["a"]).run_dry()


def test_the_oracle_sees_a_row_that_is_missing_doubled_or_of_another_function(makes: dict[str, Make]) -> None:
    """What makes the tests above able to fail."""
    for wrong in ("missing", "mixed", "letter"):
        world = world_of(plain(3, 2, 50))
        Process(world, makes["a"]).run_dry()
        records = world.kafka.log(RAW, 0).records
        if wrong == "missing":
            del records[-1]
        functions = {"missing": A, "letter": {"a": Function("a", 4, 60)}, "mixed": {"d": FUNCTIONS["d"]}}[wrong]
        with pytest.raises((AssertionError, KeyError)):
            check_whole(world, functions)
