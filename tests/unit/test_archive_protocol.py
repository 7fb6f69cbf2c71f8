"""What the archive finds when it comes back, and what it does then: open intents, other logs, deleted records.

Each test runs with a store that keeps the conditions of writes and with one that ignores them.
"""

import random
from contextlib import suppress
from dataclasses import replace

import pytest

from headrace.errors import ConfigError, FatalError
from headrace.kafka import headers_of
from headrace.lake import ledger
from headrace.lake.flow import Stage
from headrace.lake.verify import chain_gaps
from headrace.protocol.archive_note import Intent, encode
from headrace.protocol.tail import Tail
from headrace.protocol.wire import ORIGIN, Position, pack_position
from tests.unit.archive_oracle import check_whole
from tests.unit.archive_rows import TOPIC, number_of, position_of, record, row
from tests.unit.archive_world import PARTITION, SOURCES, Crash, Process, World, archive_all, world_of
from tests.unit.toy_kafka import offset


@pytest.fixture(params=[True, False], ids=["conditional", "unconditional"], autouse=True)
def _stores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "conditional", request.param)


def with_control_records_last(seed: int = 3) -> World:
    world = world_of(seed)
    archive_all(world)
    world.log.skip(2)
    return world


def test_control_records_at_the_logs_end_are_accounted_for() -> None:
    world = with_control_records_last()
    archive_all(world)
    check_whole(world)
    assert world.entries()[-1].skipped == ((world.log.high - 2, world.log.high),)


def test_a_log_of_control_records_alone_is_accounted_for() -> None:
    world = World()
    world.log.skip(3)
    archive_all(world)
    check_whole(world, [])
    assert [e.skipped for e in world.entries()] == [((0, 3),)]


@pytest.mark.parametrize("until", range(1, 6))
def test_control_records_noted_before_a_crash_are_the_same_batch_after_it(until: int) -> None:
    world = with_control_records_last()
    start, end = world.log.high - 2, world.log.high
    world.until_crash = until
    with pytest.raises(Crash):
        archive_all(world)
    world.calm()
    noted = world.note.intent is not None
    more = [Position(2, n, 0) for n in range(100, 105)]
    world.emit_more(more, random.Random(1))
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
    world.calm()
    world.records.append(record(world.log.high - 1, b"stranger"))
    world.log.low = world.log.high - 1 if gone else 0
    with pytest.raises(FatalError, match="other records"):
        archive_all(world)


def stopped_in_the_middle(seed: int = 3) -> World:
    """A world where a batch's files are written and its ledger entry isn't."""
    world = world_of(seed)
    process = Process(world)
    world.crash_at = "_ledger/"
    with pytest.raises(Crash):
        process.run_dry()
    world.calm()
    process.die()
    assert world.files()
    assert not world.entries()
    return world


def test_the_intent_is_committed_before_anything_is_stored() -> None:
    world = stopped_in_the_middle()
    assert world.committed is not None
    assert world.committed[0] == 0
    assert world.note.intent is not None
    assert world.note.intent.end == world.log.high


def test_a_redo_ends_where_the_intent_says_though_more_has_come() -> None:
    world = stopped_in_the_middle()
    end = world.log.high
    more = [Position(2, n, 0) for n in range(100, 105)]
    world.emit_more(more, random.Random(1))
    archive_all(world)
    assert world.entries()[0].end == end
    check_whole(world, [*SOURCES, *more])


def test_other_rows_under_the_same_name_stop_the_archive() -> None:
    world = stopped_in_the_middle()
    world.log.records = [
        record(offset(m), row(99) if m.value() is not None else None, headers_of(m)) for m in world.records
    ]
    with pytest.raises(FatalError, match="other rows"):
        archive_all(world)


@pytest.mark.parametrize("change", ["value", "epoch", "gone", "control records"])
def test_a_log_that_was_truncated_and_written_anew_is_recognised(change: str) -> None:
    world = world_of(5)
    archive_all(world)
    last = world.records.pop()
    if change == "value":
        world.records.append(record(offset(last), row(12345), headers_of(last)))
    elif change == "epoch":
        world.records.append(record(offset(last), last.value(), headers_of(last), epoch=2))
    elif change == "control records":
        world.log.skip()
    else:
        world.log.high = offset(world.records[-1]) + 1
    with pytest.raises(FatalError, match="truncated"):
        archive_all(world)


def test_a_record_where_control_records_were_passed_over_stops_the_archive() -> None:
    """Their log was truncated and written again, though not before the last record that was stored."""
    world = with_control_records_last()
    archive_all(world)
    world.records.append(record(world.log.high - 1, b"stranger"))
    with pytest.raises(FatalError, match="where the log had none: it was truncated"):
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
    process.poll(10)
    process.poll(10)
    world.topic_id = "B" * 22
    with pytest.raises(FatalError, match="created again"):
        process.flush()
    assert not world.store.objects


def test_files_without_a_commit_ask_for_a_person() -> None:
    world = world_of(5)
    archive_all(world)
    del world.kafka.committed[PARTITION]
    with pytest.raises(ConfigError, match="archive adopt"):
        archive_all(world)


def keep(world: World, kept: int) -> dict[str, bytes]:
    """The first of the data files, once the others are deleted."""
    for key in list(world.files())[kept:]:
        world.store.delete(key)
    return world.files()


@pytest.mark.parametrize("crashes", [0, 3, 5, 7])
@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_what_the_log_still_has_of_an_open_intent_is_stored(seed: int, kept: int, crashes: int) -> None:
    """Retention went past a part of the batch: only what neither the log nor a file holds is lost."""
    world = stopped_in_the_middle(seed)
    before = keep(world, kept)
    held = {r["_offset"] for r in world.rows()}
    low = world.log.low = offset(world.records[len(world.records) // 2])
    numbers = {offset(m): n for m in world.records if (n := number_of(m)) is not None}
    world.until_crash = crashes or 10**9
    with suppress(Crash):
        archive_all(world)
    world.calm()
    archive_all(world)
    assert set(world.numbers()) == {n for o, n in numbers.items() if o >= low or o in held}
    assert len(set(world.numbers())) == len(world.numbers())
    assert {k: world.store.objects[k] for k in before} == before
    (entry,) = world.entries()
    assert entry.unaccounted() == 0
    assert (entry.start, entry.end) == (0, world.log.high)
    assert [o for a, b in entry.lost for o in range(a, b)] == [o for o in range(low) if o not in held]
    assert world.note.last == SOURCES[-1]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_what_kafka_deleted_under_an_open_intent_is_recorded_and_never_written(kept: int) -> None:
    world = stopped_in_the_middle()
    before, held = keep(world, kept), len(world.rows())
    world.log.low = world.log.high
    world.kafka.write(TOPIC, b"later")
    archive_all(world)
    assert world.files() == before
    first = world.entries()[0]
    assert first.rows == held
    assert ledger.count(first.lost) == first.end - first.start - held
    assert world.committed is not None
    gaps = chain_gaps(world.entries(), world.topic_id, Stage(world.log.low, world.log.high, *world.committed))
    assert sum(n for n, _ in gaps) == ledger.count(first.lost)


def test_what_kafka_deleted_before_it_was_read_is_recorded() -> None:
    world = world_of(8)
    process = Process(world)
    process.poll(10)
    process.poll(10)
    process.flush()
    process.die()
    assert world.committed is not None
    start = world.committed[0]
    world.log.low = next(offset(m) for m in world.records[18:] if position_of(m))
    archive_all(world)
    assert ledger.count(world.entries()[1].lost) == world.log.low - start
    assert len(set(world.numbers())) == len(world.numbers())


def test_a_batch_in_the_ledger_is_finished_though_kafka_has_deleted_it_meanwhile() -> None:
    """The crash came between the ledger entry and the commit of its end."""
    world = world_of(3)
    process = Process(world)
    world.crash_at_commit = 2  # the first is the intent
    with pytest.raises(Crash):
        process.run_dry()
    process.die()
    assert world.note.intent is not None
    (entry,) = world.entries()
    world.log.low = world.log.high
    archive_all(world)
    assert world.entries() == [entry]
    check_whole(world)


def test_an_intent_of_another_format_is_left_to_the_version_that_made_it() -> None:
    world = stopped_in_the_middle()
    note = world.note
    assert note.intent is not None
    world.kafka.committed[PARTITION] = (0, encode(replace(note, intent=Intent(note.intent.end, 99, 3))))
    with pytest.raises(FatalError, match="format 99"):
        archive_all(world)


def test_a_missing_reading_stops_the_archive() -> None:
    world = world_of(5)
    src = pack_position(SOURCES[10], ORIGIN)[:16]
    world.log.records = [m for m in world.records if (position_of(m) or b"")[:16] != src]
    with pytest.raises(FatalError, match="missing"):
        archive_all(world)
    assert not world.entries()


def test_tails_are_kept_with_the_commit() -> None:
    world = world_of(5)
    archive_all(world)
    tail = world.note.tail
    assert isinstance(tail, Tail)
    assert tail.offset == world.log.high - 1
