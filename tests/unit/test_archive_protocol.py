"""The archive's protocol as a whole: whatever dies and when, every source position is in exactly one file."""

import random
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.config.model import Archive
from headrace.errors import ConfigError, FatalError
from headrace.intent import Intent, Tail, decode, encode
from headrace.lake import ledger
from headrace.lake.flow import Stage
from headrace.lake.verify import chain_gaps, row_gaps
from headrace.wire import ORIGIN, Position, pack_position, unpack_position
from processors.archive.commit import Revoked, Token
from tests.unit.archive_world import TOPIC, Crash, FakeMessage, Process, World, archive_all, row

SOURCES = [Position(1, n, 0) for n in range(24)]
slow = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])


def world_of(seed: int, sources: list[Position] = SOURCES) -> World:
    world = World()
    world.emit(sources, random.Random(seed))
    return world


def check_whole(world: World, sources: list[Position] = SOURCES) -> None:
    """Exactly once, and all accounted for."""
    assert world.numbers() == [s.offset for s in sources]
    entries = world.entries()
    assert world.committed is not None
    stage = Stage(0, world.high, *world.committed)
    assert world.committed[0] == entries[-1].end == world.high
    assert decode(world.committed[1]).intent is None
    assert chain_gaps(entries, world.topic_id, stage) == []
    files = {f.key: f.rows for e in entries for f in e.files}
    assert row_gaps(entries, files) == []
    assert {k for k in world.store.objects if k.endswith(".parquet")} == set(files)
    assert all(e.unaccounted() == 0 for e in entries)
    assert len(world.letters) == sum(ledger.count(e.refused) for e in entries)


@slow
@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), max_size=6),
    st.integers(1, 12),
    st.sampled_from([3, 7, 1000]),
)
def test_crashes_anywhere_neither_lose_nor_double(
    seed: int, crashes: list[tuple[int, int]], count: int, max_records: int
) -> None:
    world = world_of(seed)
    for until, rotate in [*crashes, (10**9, 5)]:
        world.until_crash = until
        process = Process(world, Archive(uploads=1, max_records=max_records))
        try:
            for turn in range(60):
                process.poll(count, turn)
                if turn % rotate == 0:
                    process.flush()
        except Crash:
            pass
        finally:
            process.close()
    world.until_crash = 10**9
    archive_all(world)
    check_whole(world)


@slow
@given(st.integers(0, 1000), st.integers(3, 40), st.integers(1, 9))
def test_a_zombies_late_writes_change_nothing(seed: int, until: int, count: int) -> None:
    world = world_of(seed)
    zombie = Process(world)
    world.until_crash = until
    try:
        for turn in range(60):
            zombie.poll(count, turn)
            zombie.flush()
    except Crash:
        pass
    world.until_crash = 10**9
    heir = Process(world)
    heir.run_dry()
    check_whole(world)
    before = dict(world.store.objects)
    for plan in zombie.stored:  # whatever it had begun to write arrives now
        zombie.work._store_batch(Token(), plan)
    assert world.store.objects == before
    zombie.close()
    heir.close()


def with_control_records_last(seed: int = 3) -> World:
    world = world_of(seed)
    archive_all(world)
    world.end = world.high + 2
    return world


def test_control_records_at_the_logs_end_are_accounted_for() -> None:
    world = with_control_records_last()
    archive_all(world)
    check_whole(world)
    assert world.entries()[-1].skipped == ((world.high - 2, world.high),)


def test_a_log_of_control_records_alone_is_accounted_for() -> None:
    world = World()
    world.end = 3
    archive_all(world)
    check_whole(world, [])
    assert [e.skipped for e in world.entries()] == [((0, 3),)]


@pytest.mark.parametrize("until", range(1, 6))
def test_control_records_noted_before_a_crash_are_the_same_batch_after_it(until: int) -> None:
    world = with_control_records_last()
    start, end = world.high - 2, world.high
    world.until_crash = until
    with pytest.raises(Crash):
        archive_all(world)
    world.until_crash = 10**9
    noted = world.committed is not None and decode(world.committed[1]).intent is not None
    before = world.log[-1]
    more = [Position(2, n, 0) for n in range(100, 105)]
    world.emit(more, random.Random(1))
    first = world.log[world.log.index(before) + 1]
    last = next(m for m in reversed(world.log[: world.log.index(first)]) if m.headers())
    first._headers = [("position", dict(first.headers())["position"][:16] + dict(last.headers())["position"][:16])]
    archive_all(world)
    check_whole(world, [*SOURCES, *more])
    if noted:
        assert (start, end) in [(e.start, e.end) for e in world.entries()]


@pytest.mark.parametrize("gone", [False, True])
def test_records_where_there_were_none_stop_the_archive(gone: bool) -> None:
    """Control records were noted, and the crash came; now the log has a record there: it is another log."""
    world = with_control_records_last()
    world.crash_at = "_ledger/"
    with pytest.raises(Crash):
        archive_all(world)
    world.crash_at = ""
    world.log.append(FakeMessage(world.high - 1, 1, b"stranger", []))
    world.low = world.high - 1 if gone else 0
    with pytest.raises(FatalError, match="other records"):
        archive_all(world)


def number_of(m: FakeMessage) -> int | None:
    """Which reading a message of clean's is."""
    data = dict(m.headers()).get("position")
    return unpack_position(data)[0].offset if data else None


def stopped_in_the_middle(seed: int = 3) -> World:
    """A world where a batch's files are written and its ledger entry isn't."""
    world = world_of(seed)
    process = Process(world)
    world.crash_at = "_ledger/"
    with pytest.raises(Crash):
        process.run_dry()
    world.crash_at = ""
    process.close()
    assert any(k.endswith(".parquet") for k in world.store.objects)
    assert not world.entries()
    return world


def test_the_intent_is_committed_before_anything_is_stored() -> None:
    world = stopped_in_the_middle()
    assert world.committed is not None
    note = decode(world.committed[1])
    assert world.committed[0] == 0
    assert note.intent is not None
    assert note.intent.end == world.high


def test_a_replay_ends_where_the_intent_says_though_more_has_come() -> None:
    world = stopped_in_the_middle()
    end = world.high
    more = [Position(2, n, 0) for n in range(100, 105)]
    before = [m for m in world.log if m.headers()][-1]
    world.emit(more, random.Random(1))
    first = world.log.index(next(m for m in world.log if m.offset() >= end))
    head = dict(world.log[first].headers())["position"]
    last = dict(before.headers())["position"][:16]
    world.log[first]._headers = [("position", head[:16] + last)]
    process = Process(world)
    process.run_dry()
    assert world.entries()[0].end == end
    check_whole(world, [*SOURCES, *more])
    process.close()


def test_other_rows_under_the_same_name_stop_the_archive() -> None:
    world = stopped_in_the_middle()
    for m in world.log:
        m._value = row(99) if m._value is not None else None
    with pytest.raises(FatalError, match="other rows"):
        archive_all(world)


@pytest.mark.parametrize("change", ["value", "epoch", "gone", "control records"])
def test_a_log_that_was_truncated_and_written_anew_is_recognised(change: str) -> None:
    world = world_of(5)
    archive_all(world)
    last = world.log[-1]
    if change == "value":
        last._value = row(12345)
    elif change == "epoch":
        last._epoch += 1
    else:
        del world.log[-1]
        world.end = world.high + 1 if change == "control records" else 0
    with pytest.raises(FatalError, match="truncated"):
        archive_all(world)


def test_a_topic_made_anew_is_recognised() -> None:
    world = world_of(5)
    archive_all(world)
    world.topic_id = "B" * 22
    with pytest.raises(FatalError, match="created again"):
        archive_all(world)


def test_a_topic_made_anew_while_it_is_read_is_recognised_before_anything_is_stored() -> None:
    world = world_of(5)
    process = Process(world)
    process.poll(10, 0)
    process.poll(10, 1)
    world.topic_id = "B" * 22
    with pytest.raises(FatalError, match="created again"):
        process.flush()
    assert not world.store.objects
    process.close()


def test_files_without_a_commit_ask_for_a_person() -> None:
    world = world_of(5)
    archive_all(world)
    world.committed = None
    with pytest.raises(ConfigError, match="archive adopt"):
        archive_all(world)


@pytest.mark.parametrize("crashes", [0, 3, 5, 7])
@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_what_the_log_still_has_of_an_open_intent_is_stored(seed: int, kept: int, crashes: int) -> None:
    """Retention went past a part of the batch: only what neither the log nor a file holds is lost."""
    world = stopped_in_the_middle(seed)
    files = sorted(k for k in world.store.objects if k.endswith(".parquet"))
    for key in files[kept:]:
        del world.store.objects[key]
    before = {k: v for k, v in world.store.objects.items() if k.endswith(".parquet")}
    held = {r["_offset"] for r in world.rows()}
    world.low = world.log[len(world.log) // 2].offset()
    numbers = {m.offset(): n for m in world.log if (n := number_of(m)) is not None}
    world.until_crash = crashes or 10**9
    with suppress(Crash):
        archive_all(world)
    world.until_crash = 10**9
    archive_all(world)
    assert set(world.numbers()) == {n for o, n in numbers.items() if o >= world.low or o in held}
    assert len(set(world.numbers())) == len(world.numbers())
    assert {k: world.store.objects[k] for k in before} == before
    (entry,) = world.entries()
    assert entry.unaccounted() == 0
    assert (entry.start, entry.end) == (0, world.high)
    assert [o for a, b in entry.lost for o in range(a, b)] == [o for o in range(world.low) if o not in held]
    assert world.committed is not None
    assert decode(world.committed[1]).last == SOURCES[-1]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_what_kafka_deleted_under_an_open_intent_is_recorded_and_never_written(kept: int) -> None:
    world = stopped_in_the_middle()
    files = sorted(k for k in world.store.objects if k.endswith(".parquet"))
    for key in files[kept:]:
        del world.store.objects[key]
    before = {k: v for k, v in world.store.objects.items() if k.endswith(".parquet")}
    held = len(world.rows())
    world.low = world.high
    world.log.append(FakeMessage(world.high, 1, b"later", []))
    archive_all(world)
    assert {k: v for k, v in world.store.objects.items() if k.endswith(".parquet")} == before
    first = world.entries()[0]
    assert first.rows == held
    assert ledger.count(first.lost) == first.end - first.start - held
    assert world.committed is not None
    gaps = chain_gaps(world.entries(), world.topic_id, Stage(world.low, world.high, *world.committed))
    assert sum(n for n, _ in gaps) == ledger.count(first.lost)


def test_what_kafka_deleted_before_it_was_read_is_recorded() -> None:
    world = world_of(8)
    process = Process(world)
    process.poll(10, 0)
    process.poll(10, 1)
    process.flush()
    process.poll(0, 2)
    process.close()
    assert world.committed is not None
    start = world.committed[0]
    world.low = next(m.offset() for m in world.log[18:] if m.headers())
    archive_all(world)
    assert ledger.count(world.entries()[1].lost) == world.low - start
    assert len(set(world.numbers())) == len(world.numbers())


def test_an_intent_of_another_format_is_left_to_the_version_that_made_it() -> None:
    world = stopped_in_the_middle()
    assert world.committed is not None
    note = decode(world.committed[1])
    assert note.intent is not None
    world.committed = (0, encode(replace(note, intent=Intent(note.intent.end, 99, 3))))
    with pytest.raises(FatalError, match="format 99"):
        archive_all(world)


def test_a_missing_reading_stops_the_archive() -> None:
    world = world_of(5)
    src = pack_position(SOURCES[10], ORIGIN)[:16]
    world.log = [m for m in world.log if dict(m.headers()).get("position", b"")[:16] != src]
    with pytest.raises(FatalError, match="missing"):
        archive_all(world)
    assert not world.entries()


def test_a_commit_of_a_partition_taken_away_is_never_made() -> None:
    world = world_of(5)
    process = Process(world)
    process.poll(10, 0)
    process.partition.leave(0)
    before = world.committed
    with pytest.raises(Revoked):
        process.commit(process.partition.token, TOPIC, 0, 5, decode('{"v":1,"id":"x"}'))
    assert world.committed == before
    process.close()


def test_tails_are_kept_with_the_commit() -> None:
    world = world_of(5)
    archive_all(world)
    assert world.committed is not None
    tail = decode(world.committed[1]).tail
    assert isinstance(tail, Tail)
    assert tail.offset == world.high - 1
