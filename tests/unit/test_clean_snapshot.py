"""A look-back that was written and read again: it decides as the whole log does, or it is not used."""

import random
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import FatalError, TransientError
from headrace.protocol.clean_note import CleanNote
from headrace.protocol.clean_note import encode as encode_note
from headrace.protocol.tail import Tail
from processors.clean import snapshot, snapshots
from processors.clean.snapshot import Snapshot, UnreadableError, decode, encode, serves
from processors.clean.snapshots import Snapshots
from processors.group.partition import Found
from tests.profiles import examples
from tests.unit.clean_world import CLEAN, PARTITIONS, RAW, AtOnce, Process, ToyStore, World, cleaning
from tests.unit.lives import live
from tests.unit.raw_log import EVERY, MESSAGES, NULLING, Log, same_however_cut
from tests.unit.test_clean_protocol import RECORDS, check_whole, world_of


@examples(1)
@given(
    st.lists(st.tuples(MESSAGES, st.integers(0, 2)), min_size=1, max_size=25),
    st.integers(1, 25),
    st.dictionaries(st.integers(1, 24), st.integers(0, 3)),
    st.sets(st.integers(1, 24)),
    st.sampled_from([EVERY, NULLING]),
)
def test_restarts_with_snapshots_give_what_the_whole_log_gives(
    messages: list[tuple[Any, int]], lookback: int, cuts: dict[int, int], saves: set[int], contract: Any
) -> None:
    same_however_cut(messages, lookback, dict.fromkeys(saves, 0) | cuts, contract, saves)


def test_logs_of_few_values_and_copies_restarted_from_snapshots() -> None:
    rnd, served = random.Random(7), 0
    for _ in range(30):
        messages: list[tuple[Any, int]] = []
        for i in range(25):
            reading = rnd.choice([20.0, 20.0, 24.0, 90.0, -200.0]), i + rnd.randint(-2, 1), rnd.choice("ddde"), 1, i
            again = rnd.random() < 0.3 and bool(messages)
            messages.append((rnd.choice(messages)[0] if again else reading, rnd.choice([0, 0, 1])))
        cuts = {n: rnd.choice([0, 1, 2]) for n in range(3, 24, rnd.randint(1, 4))}
        saves = {n for n in cuts if rnd.random() < 0.5}
        served += same_however_cut(messages, rnd.choice([2, 5, 10]), cuts, rnd.choice([EVERY, NULLING]), saves)
    assert served > 50


def a_log() -> Log:
    log = Log()
    for i in range(6):
        log.write(20.0 + i, i, event=i)
    log.clean(0, 6)
    log.save()
    return log


def test_a_snapshot_is_read_as_it_was_written() -> None:
    data = a_log().saved
    again = decode(data)
    assert encode(again) == data
    assert (again.seen.end, len(again.seen.ids.which), len(again.seen.values)) == (6, 6, 1)


def test_bytes_that_are_not_whole_are_no_snapshot() -> None:
    data = a_log().saved
    for n in range(len(data)):
        with pytest.raises(UnreadableError):
            decode(data[:n])
        with pytest.raises(UnreadableError):
            decode(data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :])


def test_values_of_another_version_are_not_used_and_ids_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a reading is for the code to say; an id is an id."""
    it = decode(a_log().saved)
    data, ids = encode(it), encode(replace(it, seen=it.seen._replace(values={})))
    monkeypatch.setattr(snapshot, "__version__", "9.9.9")
    assert decode(ids).seen.end == 6
    with pytest.raises(UnreadableError, match="made by version"):
        decode(data)


SAVED = Snapshot("id", 50, Tail(99, 3, 7), decode(a_log().saved).seen._replace(end=100))
NOTE = CleanNote("id", 0, tail=Tail(119, 3, 8))


@pytest.mark.parametrize(
    ("it", "note", "position", "low", "expected"),
    [
        (SAVED, NOTE, 120, 0, True),
        (SAVED, NOTE, 150, 0, True),
        (SAVED, NOTE, 151, 0, False),  # what lies between would have to be read, and that is all there is
        (SAVED, NOTE, 120, 100, True),
        (SAVED, NOTE, 120, 101, False),  # offset 100 is in neither
        (SAVED, replace(NOTE, tail=SAVED.tail), 100, 0, True),
        (SAVED, replace(NOTE, tail=Tail(99, 3, 6)), 100, 0, False),  # another record
        (SAVED, replace(NOTE, tail=Tail(98, 3, 6)), 99, 0, False),  # the group was set back
        (SAVED, replace(NOTE, tail=Tail(119, 4, 8)), 120, 0, False),  # the log may have been truncated between
        (SAVED, replace(NOTE, tail=None), 120, 0, False),
        (replace(SAVED, tail=Tail(99, -1, 7)), replace(NOTE, tail=Tail(119, -1, 8)), 120, 0, False),  # not known
        (replace(SAVED, topic_id="another"), NOTE, 120, 0, False),
        (replace(SAVED, length=49), NOTE, 120, 0, False),
    ],
)
def test_which_snapshot_serves(it: Snapshot, note: CleanNote, position: int, low: int, expected: bool) -> None:
    assert serves(it, note, position, low, 50) == expected


def read_from(process: Process, partition: tuple[str, int] = PARTITIONS[0]) -> int:
    """Where a process begins to read a partition."""
    process.turn()
    process.turn()
    begin: int = process.relay._partitions[partition].begin
    return begin


def stopped(world: World) -> None:
    """A process that deals with all there is, and leaves the group."""
    process = Process(world, cleaning)
    process.run_dry()
    process.client.revoke(*PARTITIONS)
    process.turn()


def test_after_a_stop_on_request_nothing_is_read_again() -> None:
    world = world_of([("good", n) for n in range(1, 8)])
    stopped(world)
    assert read_from(Process(world, cleaning)) == 6  # the last record: is it still the same?


def test_after_a_kill_only_what_came_since_is_read_again() -> None:
    world = world_of([("good", n) for n in range(1, 8)])
    Process(world, cleaning).run_dry()
    (key,) = world.store  # of the other partition's log there is nothing to keep
    assert key == f"_state/clean/toy.raw/{world.topic_id}/p0.lookback"
    assert read_from(Process(world, cleaning)) > 3


@pytest.mark.parametrize("data", [b"", b"junk", b"HRlook1\n\0\0\0\0"])
def test_what_is_no_snapshot_is_ignored(data: bytes) -> None:
    world = world_of([("good", n) for n in range(1, 8)])
    stopped(world)
    world.store = dict.fromkeys(world.store, data)
    assert read_from(Process(world, cleaning)) == 3


@pytest.mark.parametrize("error", [TransientError("the store is away"), FatalError("no such object")])
def test_a_store_that_is_away_costs_a_look_into_the_log(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> Any:
        raise error

    world = world_of([("good", n) for n in range(1, 8)])
    stopped(world)
    monkeypatch.setattr(ToyStore, "get", fails)
    monkeypatch.setattr(ToyStore, "put", fails)
    with caplog.at_level("INFO"):
        process = Process(world, cleaning)
        assert read_from(process) == 3
        world.write(PARTITIONS[0], [("good", n) for n in range(3, 12)])
        process.run_dry()
    check_whole(world)
    told = [r for r in caplog.records if r.getMessage() == "look-backs from the store"]
    assert [getattr(r, "error", None) for r in told] == (
        [f"{RAW}/0: the store is away"] if isinstance(error, TransientError) else [None]
    )
    assert all(r.levelname == "INFO" for r in caplog.records)


def test_records_that_were_truncated_away_count_for_nothing_though_a_snapshot_has_them() -> None:
    """The operator has deleted the group's offsets; by the time of a restart they are past the snapshot again."""
    world = world_of([("good", n) for n in range(1, 5)])
    stopped(world)
    old = dict(world.store)
    world.kafka.log(RAW, 0).truncate(2)
    world.kafka.log(CLEAN, 0).truncate(0)
    world.kafka.committed.clear()
    world.write(PARTITIONS[0], [("good", n) for n in (8, 9)])
    Process(world, cleaning).run_dry()
    world.store = old
    world.write(PARTITIONS[0], [("good", n) for n in (4, 3)])  # they come again: the log has none of them
    Process(world, cleaning).run_dry()
    check_whole(world, chained=False)


@given(RECORDS, RECORDS, st.integers(1, 60), st.integers(1, 60))
def test_an_older_snapshot_that_arrives_late_does_no_harm(
    one: list[tuple[str, int]], two: list[tuple[str, int]], first: int, second: int
) -> None:
    world = world_of(one)
    live(world, first)
    old = dict(world.store)
    live(world, second)
    world.store |= old
    world.write(PARTITIONS[0], two)
    Process(world, cleaning).run_dry()
    check_whole(world)


def test_the_oldest_offset_of_the_look_back_is_in_it() -> None:
    log = Log(lookback=4)
    for n in (1, 2, 3, 4, 1, 6):
        log.write(20.0, n, event=n)
    log.clean(0, 4)
    log.save()
    log.restart(1)
    assert log.restored == 1
    assert (log.clean(4, 5).counts.repeated, log.clean(5, 6).counts.repeated) == (1, 0)


def test_of_many_partitions_that_go_only_a_few_look_backs_are_in_memory_twice() -> None:
    seen, copies, written, most = decode(a_log().saved).seen, 0, list[str](), 0

    class Known:
        def kept(self) -> Any:
            nonlocal copies, most
            copies += 1
            most = max(most, copies - len(written))
            return seen

    class Store:
        def put(self, key: str, _: bytes) -> bool:
            time.sleep(0.01)
            written.append(key)
            return True

    it: Any = Snapshots(Store, 100)  # type: ignore[arg-type]
    known = Known()
    it.leave(
        [SimpleNamespace(source=(RAW, n), whole=True, next=100, saved=0, note=NOTE, lookback=known) for n in range(30)]
    )
    it.close()
    assert len(written) == 30
    assert most <= 2 * snapshots._AT_ONCE


def test_whatever_goes_wrong_with_a_snapshot_it_costs_a_look_into_the_log_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Store:
        def get(self, _: str) -> bytes:
            raise AttributeError("nobody has thought of this")

    it = Snapshots(Store, 100)  # type: ignore[arg-type]
    it.warm()
    with caplog.at_level("INFO"):
        it.fetch({PARTITIONS[0]: Found(CLEAN, "id", 0, 500, 400, encode_note(replace(NOTE, tail=Tail(399, 3, 8))))})
    it.close()
    assert it.take(PARTITIONS[0]) is None
    assert "nobody has thought of this" in caplog.records[-1].error  # type: ignore[attr-defined]


def test_a_short_look_back_is_not_written_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "ThreadPoolExecutor", AtOnce)
    world = World()
    it: Any = Snapshots(lambda: ToyStore(world), 20)  # type: ignore[arg-type, return-value]
    known, puts = a_log().partition.lookback, list[int]()
    partition = SimpleNamespace(source=PARTITIONS[0], whole=True, next=0, saved=0, note=NOTE, lookback=known)
    for partition.next in range(0, 30_000, 10):
        it.offer(partition)
        puts += [partition.next] if world.store else []
        world.store.clear()
    assert puts == [10_000, 20_000]
