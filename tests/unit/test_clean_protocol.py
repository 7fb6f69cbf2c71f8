"""clean's protocol as a whole: whatever dies and when, each raw offset is a row, a repeat or a dead letter, once."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.deadletters import Letter
from headrace.errors import FatalError, TransientError
from processors.group.relay import Settings, Step
from processors.group.token import Partition
from tests.unit.clean_world import CLEAN, CODEC, PARTITIONS, RAW, REFUSED, Process, World, cleaning
from tests.unit.lives import LIVES, change_hands, live, lives_of, wake
from tests.unit.toy_kafka import offset

KINDS = st.sampled_from(["good"] * 6 + ["changed", "refused", "junk", "empty", "gap"])
RECORDS = st.lists(st.tuples(KINDS, st.integers(0, 6)), max_size=12)  # kind and event id; 0: none


def world_of(*records: list[tuple[str, int]]) -> World:
    world = World()
    for partition, kinds in zip(PARTITIONS, records, strict=False):
        world.write(partition, kinds)
    return world


def check_whole(world: World, *, chained: bool = True) -> None:
    """Each raw offset exactly once, in order, and all of it counted."""
    letters = world.letters()
    for partition in PARTITIONS:
        log, target = world.kafka.log(*partition), (CLEAN, partition[1])
        rows = world.rows(target)
        assert rows == sorted(rows)
        assert not chained or world.chained(target)
        repeats = world.repeats(partition)
        if log.high == 0:
            continue
        at, note = world.note(partition)
        assert at == log.high == note.start + note.counts.total
        for m in log.records:
            epoch, repeat = m.leader_epoch() or 0, offset(m) in repeats
            refused = world.kinds[partition, epoch, offset(m)] in REFUSED
            row = [(r.epoch, r.offset) for r in rows].count((epoch, offset(m)))
            letter = (partition, epoch, offset(m)) in letters
            assert (row, letter) == (not repeat and not refused, not repeat and refused), (partition, offset(m))


@given(RECORDS, RECORDS, LIVES)
def test_crashes_anywhere_neither_lose_nor_double(
    one: list[tuple[str, int]], two: list[tuple[str, int]], lives: list[tuple[int, bool]]
) -> None:
    """Between any two produces, deliveries, flushes and commits; a zombie's late rows arrive among its heir's."""
    world = world_of(one, two)
    lives_of(world, lives, cleaning)
    check_whole(world)


FAR_KINDS = st.sampled_from(["good", "good", "far", "changed", "junk", "gap"])
FAR = st.lists(st.tuples(FAR_KINDS, st.integers(0, 4)), max_size=14)


@given(FAR, FAR, LIVES)
def test_verdicts_that_look_back_are_the_same_whatever_dies(
    one: list[tuple[str, int]], two: list[tuple[str, int]], lives: list[tuple[int, bool]]
) -> None:
    """max_step compares with the device's reading before: after a start, that is read again from the log."""
    calm, world = world_of(one, two), world_of(one, two)
    Process(calm, cleaning).run_dry()
    lives_of(world, lives, cleaning)
    for _, number in PARTITIONS:
        assert world.values((CLEAN, number)) == calm.values((CLEAN, number))
    check_whole(world)


def test_a_new_process_compares_with_what_one_before_it_has_cleaned() -> None:
    world = world_of([("good", 1)])
    Process(world, cleaning).run_dry()
    world.write(PARTITIONS[0], [("far", 2)])
    Process(world, cleaning).run_dry()
    values = world.values((CLEAN, 0))
    notes = [CODEC.read(value or b"")["_quality"] for _, value in sorted(values.items())]
    assert notes == [None, "x:max_step:null"]


@given(RECORDS, RECORDS, st.integers(1, 60))
def test_a_zombies_late_commit_is_refused_and_changes_nothing(
    one: list[tuple[str, int]], two: list[tuple[str, int]], until: int
) -> None:
    world = world_of(one, two)
    zombie = live(world, until)
    Process(world, cleaning).run_dry()
    before = dict(world.kafka.committed)
    if zombie is not None:
        wake(zombie)
    assert world.kafka.committed == before
    check_whole(world)


@given(RECORDS, RECORDS, st.integers(1, 4), st.sampled_from(["revoke", "lose"]), st.booleans(), st.integers(0, 9))
def test_a_partition_taken_away_in_the_middle_of_a_batch_is_not_committed(
    one: list[tuple[str, int]], two: list[tuple[str, int]], turns: int, how: str, back: bool, work: int
) -> None:
    """Kafka confirms late; while we wait, partitions go to another member, which deals with them and may hand back."""
    world = world_of(one, two)
    change_hands(world, cleaning, PARTITIONS[0], turns, how, back=back, work=work)
    check_whole(world)


@given(
    RECORDS,
    RECORDS,
    st.integers(0, 1),
    st.sampled_from(PARTITIONS),
    st.integers(1, 4),
    st.sampled_from(["revoke", "lose"]),
    st.booleans(),
    st.integers(0, 9),
)
def test_a_partition_taken_away_while_a_torn_commit_is_repeated_is_left_out_of_it(
    one: list[tuple[str, int]],
    two: list[tuple[str, int]],
    torn: int,
    partition: Partition,
    turns: int,
    how: str,
    back: bool,
    work: int,
) -> None:
    """Of a commit of two partitions Kafka takes one or none; before we repeat it, one is another member's."""
    world = world_of(one, two)
    change_hands(world, cleaning, partition, turns, how, back=back, work=work, torn=torn)
    check_whole(world)


@pytest.mark.parametrize("how", ["revoke", "lose"])
def test_a_partition_taken_away_while_the_store_is_away_emits_nothing_more(how: str) -> None:
    """Its next owner may have begun a new version of the transform behind what was emitted by then."""
    world = world_of([("good", 1), ("junk", 2)], [("good", 3)])
    store = iter([TransientError("the store is away")])

    def shelve(letter: Letter) -> Letter:
        for error in store:
            raise error
        return letter

    def make() -> tuple[Settings, Step[Any]]:
        settings, step = cleaning()
        return replace(settings, shelve=shelve), step

    first = Process(world, make)
    first.interlude = lambda: getattr(first.client, how)(PARTITIONS[0])
    first.turn()
    first.turn()
    assert PARTITIONS[0] not in world.kafka.owners
    assert not world.kafka.log(CLEAN, 0).records
    assert not world.letters()
    assert world.rows((CLEAN, 1))
    Process(world, cleaning).run_dry()
    check_whole(world)


@given(RECORDS, st.integers(1, 40), st.integers(0, 12), RECORDS)
def test_a_truncated_log_stops_clean_or_nothing_of_it_was_committed(
    before: list[tuple[str, int]], until: int, high: int, after: list[tuple[str, int]]
) -> None:
    """Unclean election: records are gone, and others lie at their offsets. Never is one taken for the other."""
    world = world_of(before)
    live(world, until)
    log, committed = world.kafka.log(RAW, 0), world.kafka.committed.get((RAW, 0), (0, ""))[0]
    gone, read = high < log.high, [m for m in log.records if offset(m) < committed]
    log.truncate(high)
    world.write((RAW, 0), after)
    process = Process(world, cleaning)
    if not gone:
        process.run_dry()
        check_whole(world)
    elif read != [m for m in log.records if offset(m) < committed] or log.high < committed:
        with pytest.raises(FatalError, match="truncated"):
            process.run_dry()
        assert world.kafka.committed[RAW, 0][0] == committed
    else:  # nothing is lost that was committed; what was emitted of the lost records may stop it all the same
        with suppress(FatalError):
            process.run_dry()
            check_whole(world, chained=False)


def test_a_refused_delivery_ends_clean_without_a_commit() -> None:
    world = world_of([("good", 0)] * 3)
    process = Process(world, cleaning)
    process.producer.refuse = 1
    with pytest.raises(FatalError, match="1 records were refused"):
        process.run_dry()
    assert world.kafka.committed == {}


def test_a_raw_topic_made_anew_stops_clean() -> None:
    world = world_of([("good", 0)] * 3)
    Process(world, cleaning).run_dry()
    world.topic_id = "B" * 22
    with pytest.raises(FatalError, match="created again"):
        Process(world, cleaning).run_dry()


def test_raw_records_deleted_before_they_were_read_stop_clean() -> None:
    world = world_of([("good", 0)] * 3)
    Process(world, cleaning).run_dry()
    world.write((RAW, 0), [("good", 0)] * 3)
    world.kafka.log(RAW, 0).expire(5)
    with pytest.raises(FatalError, match="offsets 3 to 4 were deleted"):
        Process(world, cleaning).run_dry()


def test_offsets_that_expired_begin_at_the_logs_start_and_nothing_is_doubled() -> None:
    world = world_of([("good", 0)] * 7)
    Process(world, cleaning).run_dry()
    world.kafka.committed.clear()
    Process(world, cleaning).run_dry()
    check_whole(world, chained=False)
    assert len(world.rows((CLEAN, 0))) == 7


def test_the_world_sees_a_commit_of_a_partition_that_was_taken_away() -> None:
    """What makes the tests above able to fail."""
    world = world_of([("good", 0)])
    process = Process(world, cleaning)
    process.turn()
    del world.kafka.owners[PARTITIONS[0]]
    with pytest.raises(AssertionError, match="taken away"):
        process.run_dry()


def test_the_world_sees_a_hole() -> None:
    world = world_of([("good", 0)] * 3)
    Process(world, cleaning).run_dry()
    partition: Partition = (CLEAN, 0)
    del world.kafka.log(*partition).records[1]
    with pytest.raises(FatalError, match="missing"):
        world.rows(partition)
    assert not world.chained(partition)
