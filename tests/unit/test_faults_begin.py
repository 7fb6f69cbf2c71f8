"""A run of the fault suite begins from a stack where nothing is under way, and waits for the servers that it asks."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace import kafka
from headrace.config import Config
from headrace.config.connect import Store
from headrace.errors import TransientError
from headrace.kafka import TopicInfo
from headrace.lake import layout
from headrace.stack.process import start_time
from headrace.stack.state import State
from headrace.store.open import open_store
from tests.faults import asking, evidence
from tests.faults.asking import answered
from tests.faults.evidence import CLEAN
from tests.faults.fault import Fault
from tests.faults.proxy import proxy
from tests.faults.readings import AXES
from tests.faults.run import UnreadyError, begin
from tests.faults.runs import Runs
from tests.faults.services import nothing
from tests.faults.world import World

# (a) what lies across the beginning


def batch(offsets: range) -> bytes:
    """A file of the lake: a row for each offset of partition 0."""
    n = len(offsets)
    none = pa.nulls(n, pa.string())
    columns = {
        "device_id": pa.array(["d"] * n), "boot_id": none, "sequence": pa.array(offsets, pa.int64()),
        "event_time": pa.array([0] * n, pa.timestamp("us", "UTC")), **{a: pa.array([0.0] * n) for a in AXES},
        "_quality": none, "_partition": pa.array([0] * n, pa.int32()), "_offset": pa.array(offsets, pa.int64()),
        "_src_epoch": pa.array([0] * n, pa.int32()), "_src_offset": pa.array(offsets, pa.int64()),
        "_src_index": pa.array([0] * n, pa.int32()),
    }  # fmt: skip
    out = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), out)
    return bytes(out.getvalue().to_pybytes())


@pytest.mark.parametrize(("begin", "found"), [(0, 30), (10, 20), (14, 16), (20, 10), (25, 5), (30, 0), (40, 0)])
def test_a_file_that_lies_across_the_beginning_is_read_from_there(begin: int, found: int, tmp_path: Path) -> None:
    cfg = Config(store=Store(kind="folder", folder=tmp_path / "lake"))
    store = open_store(cfg.store)
    store.ensure_bucket()
    for start, date in ((0, "2026-01-01"), (10, "2026-01-01"), (10, "2026-01-02"), (20, "2026-01-02")):
        half = range(start, start + 10) if start != 10 else range(start, start + 10)[date == "2026-01-02" :: 2]
        store.put(layout.data_key(CLEAN, "id", 0, start, 1, date), batch(half))
    rows = evidence._rows(cfg, {(CLEAN, 0): begin, (CLEAN, 1): 0})
    assert sorted(rows["offset"]) == list(range(begin, 30))
    assert len(rows) == found


# (a) a stack that earlier runs left busy


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with proxy("127.0.0.1", 1) as it:
        yield World(State(tmp_path / "state"), it, it)


def test_no_run_begins_while_an_earlier_ones_readings_are_under_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [["imu.clean/0: 3,000 for the archive"], []]

    @contextmanager
    def watch(_cfg: Config) -> Iterator[None]:
        yield None

    monkeypatch.setattr(World, "config", Config())
    monkeypatch.setattr(World, "wait_ready", lambda *_, **__: None)
    monkeypatch.setattr("tests.faults.run.watch", watch)
    monkeypatch.setattr("tests.faults.run.wait_stored", lambda _cfg, _watcher, _seconds: answers.pop(0))
    monkeypatch.setattr(evidence, "ends", lambda _cfg: {(CLEAN, 0): 3000})
    with pytest.raises(UnreadyError, match="3,000 for the archive"):
        begin(world, seconds=1)
    assert begin(world, seconds=1) == {(CLEAN, 0): 3000}
    assert answers == []


def test_services_that_do_not_come_back_are_no_place_to_begin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[str] = []

    def never(*_: object, **__: object) -> None:
        raise AssertionError("still not ready: clean")

    monkeypatch.setattr(World, "wait_ready", never)
    monkeypatch.setattr(World, "kill", lambda _self, *names: killed.extend(names))
    with pytest.raises(UnreadyError, match="still not ready: clean"):
        begin(world)
    assert killed == ["bridge", "clean", "archive"]


FAULTS = [Fault(name, 1, name, nothing, setting=kind) for name, kind in (("a", "x"), ("b", "y"), ("c", "x"))]
TODO = [(fault, 1) for fault in FAULTS]


class Stacks:
    """Counts the stacks that are started, and refuses runs on those that are worn out."""

    def __init__(self, world: World, *, lasts: int) -> None:
        self.started: list[str] = []
        self.made: list[tuple[str, str, int]] = []  # place, fault, number of the stack
        self._world, self._lasts, self._used = world, lasts, 0

    @contextmanager
    def setting(self, kind: str, _folder: Path) -> Iterator[World]:
        self.started.append(kind)
        self._used = 0
        yield self._world

    def one(self, _world: World, fault: Fault, _seed: int, place: str) -> bool:
        if self._used == self._lasts:
            raise UnreadyError("imu.clean/0: 7 for the archive")
        self._used += 1
        self.made.append((place, fault.name, len(self.started)))
        return fault.name != "c"


def test_runs_of_one_kind_share_a_stack(world: World) -> None:
    stacks = Stacks(world, lasts=9)
    runs = Runs(TODO, time.monotonic() + 60, one=stacks.one, setting=stacks.setting)
    runs.make()
    assert stacks.made == [("1/3", "a", 1), ("2/3", "c", 1), ("3/3", "b", 2)]
    assert (runs.passed, runs.failed, runs.left) == (2, 1, 0)


def test_a_run_that_can_not_begin_gets_a_fresh_stack_and_the_output_says_so(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    stacks = Stacks(world, lasts=1)
    runs = Runs(TODO, time.monotonic() + 60, one=stacks.one, setting=stacks.setting)
    runs.make()
    assert stacks.made == [("1/3", "a", 1), ("2/3", "c", 2), ("3/3", "b", 3)]
    assert (runs.passed, runs.failed, runs.left) == (2, 1, 0)
    said = capsys.readouterr().out
    assert "7 for the archive" in said
    assert "a fresh stack is started" in said


def test_a_fresh_stack_on_which_nothing_can_begin_is_a_failure_and_not_tried_again(world: World) -> None:
    stacks = Stacks(world, lasts=0)
    runs = Runs(TODO, time.monotonic() + 60, one=stacks.one, setting=stacks.setting)
    runs.make()
    assert stacks.started == ["x", "y"]
    assert (runs.passed, runs.failed, runs.left) == (0, 2, 3)


def test_no_run_begins_when_the_time_is_up(world: World) -> None:
    stacks = Stacks(world, lasts=9)
    runs = Runs(TODO, time.monotonic() - 1, one=stacks.one, setting=stacks.setting)
    runs.make()
    assert (stacks.started, runs.failed, runs.left) == ([], 0, 3)


# (b) servers that are not up again yet


def test_a_server_that_is_away_is_asked_again_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_PAUSE", 0.001)
    answers = [None, None, 7]

    def ask() -> int:
        if (it := answers.pop(0)) is None:
            raise TransientError("away")
        return it

    assert answered(ask) == 7
    with pytest.raises(IndexError):
        answered(ask)  # any other error is passed on at once

    def never() -> int:
        raise TransientError("still away")

    with pytest.raises(TransientError, match="still away"):
        answered(never, seconds=0.05)


def test_the_ends_of_the_logs_are_asked_of_a_kafka_that_is_not_up_again_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def close(self) -> None: ...

    topics = evidence.topics(Config())
    described = iter([None, topics[:1], topics])

    def describe(_cfg: object, _topics: object) -> dict[str, TopicInfo]:
        names = next(described)
        if names is None:
            raise TransientError("Kafka is away")
        return {name: TopicInfo("id", 2, 1000) for name in names}

    monkeypatch.setattr(asking, "_PAUSE", 0.001)
    monkeypatch.setattr(kafka, "describe", describe)
    monkeypatch.setattr(kafka, "consumer", lambda *_: Client())
    monkeypatch.setattr(kafka, "watermarks", lambda _client, _topic, partition: (0, 5 + partition))
    assert evidence.ends(Config()) == {(t, p): 5 + p for t in topics for p in (0, 1)}


def test_a_service_whose_process_is_gone_is_not_ready_whatever_was_noted_of_it(world: World) -> None:
    """As after the supervisor stood still while Kafka was killed: stack.json still says that it is ready."""
    it = world
    it.state.path.mkdir(exist_ok=True)
    it.state.write(it.state.config_file, "{}")
    service = {"state": "ready", "message": "", "pid": os.getpid(), "started": start_time(os.getpid())}
    it.state.write_json("stack.json", {"services": {"kafka": service}})
    it.wait_ready(seconds=1)
    it.state.write_json("stack.json", {"services": {"kafka": {**service, "started": "another"}}})
    with pytest.raises(AssertionError, match=f"process {os.getpid()} is gone"):
        it.wait_ready(seconds=0.3)
