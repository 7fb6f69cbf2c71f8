"""The archive's protocol as a whole: whatever dies and when, every source position is in exactly one file."""

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config.model import Archive
from headrace.protocol.archive_note import ArchiveNote
from headrace.protocol.wire import Position
from processors.group.commits import Commits
from processors.group.token import Revoked, Token
from tests.unit.archive_oracle import check_whole
from tests.unit.archive_world import PARTITION, SOURCES, Crash, Process, World, archive_all, world_of


def run(process: Process, count: int, rotate: int = 1, turns: int = 60) -> None:
    """Take turns until the process dies."""
    with suppress(Crash):
        for turn in range(turns):
            process.poll(count)
            if turn % rotate == 0:
                process.flush()
    process.die()
    process.world.calm()


@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), max_size=6),
    st.integers(1, 12),
    st.sampled_from([3, 7, 1000]),
    st.booleans(),
)
def test_crashes_anywhere_neither_lose_nor_double(
    seed: int, crashes: list[tuple[int, int]], count: int, max_records: int, conditional: bool
) -> None:
    world = world_of(seed, conditional=conditional)
    for until, rotate in [*crashes, (10**9, 5)]:
        world.until_crash = until
        run(Process(world, Archive(uploads=1, max_records=max_records)), count, rotate)
    archive_all(world)
    check_whole(world)


@given(st.integers(0, 1000), st.integers(3, 40), st.integers(1, 9), st.booleans())
def test_a_zombies_late_writes_change_nothing(seed: int, until: int, count: int, conditional: bool) -> None:
    world = world_of(seed, conditional=conditional)
    zombie = Process(world)
    world.until_crash = until
    run(zombie, count)
    requests = list(world.store.requests)
    heir = Process(world)
    heir.run_dry()
    check_whole(world)
    before, committed = dict(world.store.objects), world.committed
    for key, data, if_absent in requests:  # whatever it had sent to the store arrives now
        world.store.put(key, data, if_absent=if_absent)
    for job in list(zombie.jobs.given):  # and whatever its threads had to do, they do now
        job()
    assert world.store.objects == before
    assert world.committed == committed
    check_whole(world)


@given(st.integers(0, 1000), st.integers(1, 9), st.integers(0, 4), st.sampled_from(["revoke", "lose"]), st.booleans())
def test_a_partition_that_changes_hands_at_any_moment_is_stored_once(
    seed: int, count: int, turns: int, how: str, conditional: bool
) -> None:
    """Its jobs take their time: some end when the partition is another's already."""
    world = world_of(seed, conditional=conditional)
    one = Process(world, Archive(max_records=5))
    for turn in range(turns):
        one.poll(count)
        one.jobs.holding = turn == turns - 1
        one.flush()
    getattr(one.client, how)(PARTITION)
    if how == "revoke":  # the group waits for its answer
        one.jobs.release()
        one.poll(count)
        two = Process(world, Archive(max_records=5))
        two.run_dry()
    else:
        two = Process(world, Archive(max_records=5))
        two.poll(count)
        two.flush()
        one.jobs.release()
        one.poll(count)
        two.run_dry()
    for _ in range(3):
        one.poll(count)
        one.flush()
    check_whole(world)
    one.client.give(PARTITION)  # and it may come back
    two.client.revoke(PARTITION)
    two.poll(count)
    world.emit_more([Position(2, n, 0) for n in range(100, 105)], random.Random(seed))
    one.run_dry()
    check_whole(world, [*SOURCES, *(Position(2, n, 0) for n in range(100, 105))])


def storing(world: World) -> Process:
    """A process that has committed an intent, and whose job stores the batch."""
    process = Process(world)
    process.poll(10)
    process.poll(10)
    process.jobs.holding = True
    process.flush()  # the job that makes batches
    process.jobs.release()
    process.jobs.holding = True
    process.poll(0)  # the intent, and the job that stores
    assert world.note.intent is not None
    assert not world.store.objects
    return process


def test_a_live_members_late_commit_does_not_touch_the_new_owners() -> None:
    """Kafka would take it: it asks whether a member is live, not whose the partition is."""
    world = world_of(5)
    late = storing(world)
    heir = Process(world)
    while world.committed is None or world.committed[0] == 0:
        heir.poll(12)  # it finishes the open intent
    world.crash_at = "_ledger/"
    with pytest.raises(Crash):
        heir.run_dry()  # and notes one of its own
    assert world.note.intent is not None
    world.calm()
    heir.die()
    noted = world.committed
    assert noted is not None
    assert noted[0] > 0
    late.jobs.release()
    late.client.lose(PARTITION)
    for _ in range(3):
        late.poll(10)
        late.flush()
    assert not late.client.fenced
    assert world.committed == noted
    archive_all(world)
    check_whole(world)


def test_a_partition_that_the_group_asks_for_is_given_up_with_what_is_stored_committed() -> None:
    world = world_of(5)
    one = storing(world)
    end = world.note.intent.end if world.note.intent else None
    one.jobs.release()
    one.client.revoke(PARTITION)
    one.poll(10)
    assert world.committed is not None
    assert (world.committed[0], world.note.intent) == (end, None)
    archive_all(world)
    check_whole(world)


def test_a_fenced_process_commits_nothing_and_goes_on_asking_until_it_is_told() -> None:
    world = world_of(5)
    zombie = storing(world)
    zombie.die()
    noted = world.committed
    zombie.jobs.release()
    for _ in range(3):
        zombie.poll(10)
    assert world.committed == noted
    archive_all(world)
    zombie.client.lose(PARTITION)
    zombie.poll(10)
    check_whole(world)


def test_a_commit_of_a_partition_taken_away_is_never_made() -> None:
    world = world_of(5)
    process = Process(world)
    process.poll(10)
    process.client.lose(PARTITION)
    process.poll(10)
    token = Token()
    token.void()
    with pytest.raises(Revoked):
        Commits(process.client).commit(token, PARTITION, 5, ArchiveNote("x").topic_id)
    assert world.committed is None
