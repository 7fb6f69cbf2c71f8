"""copy: each record of a topic is a row of the other once, in order, whatever dies and when."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import kafka
from headrace.config import Config
from headrace.errors import ConfigError, FatalError
from headrace.kafka import Message
from headrace.operate.provision import topic_specs
from headrace.protocol.wire import ORIGIN, POSITION, Headers, Position, Provenance, pack_position, texts
from processors.copy import service
from processors.group.token import Partition
from tests.profiles import examples
from tests.unit.clean_world import CLEAN, COPY, RAW, Process, World, cleaning, copying
from tests.unit.lives import LIVES, lives_of
from tests.unit.test_clean_protocol import RECORDS, world_of
from tests.unit.toy_kafka import offset


def plain(m: Message) -> tuple[bytes | None, bytes | None, Headers]:
    """What a copy has of its record."""
    return m.key(), m.value(), [h for h in texts(kafka.headers_of(m)) if h[0] != POSITION]


def taken(world: World, topic: str, number: int) -> list[Message]:
    """The rows of a `.clean` topic that a reader takes."""
    out, last = [], ORIGIN
    for m in world.kafka.log(topic, number).records:
        src = world.source(m)
        if src > last:
            out.append(m)
            last = src
    return out


def check_copied(world: World, source: str) -> None:
    for number in range(2):
        log = world.kafka.log(source, number)
        wanted = taken(world, source, number) if source == CLEAN else log.records
        copies, target = taken(world, COPY, number), (COPY, number)
        assert [plain(m) for m in copies] == [plain(m) for m in wanted]
        assert world.rows(target) == [Position(m.leader_epoch() or 0, offset(m), 0) for m in wanted]
        assert world.chained(target)
        if log.high:
            at, note = world.note((source, number))
            assert at == log.high == note.start + note.counts.total
            assert note.counts.kept == len(wanted)


@given(RECORDS, RECORDS, LIVES)
def test_crashes_anywhere_neither_lose_nor_double(
    one: list[tuple[str, int]], two: list[tuple[str, int]], lives: list[tuple[int, bool]]
) -> None:
    world = world_of(one, two)
    lives_of(world, lives, lambda: copying(RAW))
    check_copied(world, RAW)


@examples(0.4)
@given(RECORDS, RECORDS, LIVES, LIVES, st.integers(1, 3))
def test_rows_that_clean_emitted_twice_are_copied_once(
    one: list[tuple[str, int]],
    two: list[tuple[str, int]],
    cleans: list[tuple[int, bool]],
    copies: list[tuple[int, bool]],
    times: int,
) -> None:
    """clean dies and emits again, while copy does the same."""
    world = world_of(one, two)
    for _ in range(times):
        lives_of(world, cleans, cleaning)
        lives_of(world, copies, lambda: copying(CLEAN))
        world.write((RAW, 0), two)
    check_copied(world, CLEAN)


def test_a_hole_in_what_is_copied_stops_it() -> None:
    world = world_of([("good", 0)] * 4)
    Process(world, cleaning).run_dry()
    del world.kafka.log(CLEAN, 0).records[2]
    with pytest.raises(FatalError, match="a reading is missing"):
        Process(world, lambda: copying(CLEAN)).run_dry()
    assert world.kafka.log(COPY, 0).records == []


def test_a_record_that_a_stranger_wrote_is_copied_like_any_other() -> None:
    world = world_of([("good", 0)] * 2)
    Process(world, cleaning).run_dry()
    world.kafka.write(CLEAN, b"stranger")
    Process(world, lambda: copying(CLEAN)).run_dry()
    assert [m.value() for m in world.kafka.log(COPY, 0).records][-1] == b"stranger"


def test_a_copy_that_the_target_would_not_take_stops_it_before_anything_is_produced() -> None:
    world = World()
    partition: Partition = (RAW, 0)
    world.kafka.write(RAW, b"x")
    world.kafka.write(RAW, b"x" * 999_990)
    with pytest.raises(FatalError, match=r"the copy of offset 1 has 1,000,\d+ bytes.*max\.message\.bytes"):
        Process(world, lambda: copying(RAW)).run_dry()
    assert world.kafka.log(COPY, 0).records == []
    assert partition not in world.kafka.committed


def test_only_the_position_is_replaced() -> None:
    world = World()
    came = Provenance(b"i" * 16, 17, b"a/b", 1, pack_position(Position(9, 9, 9), ORIGIN))
    world.kafka.write(RAW, b"x", [("a", b"1"), came.header(), ("b", b"2")])
    Process(world, lambda: copying(RAW)).run_dry()
    (m,) = world.kafka.log(COPY, 0).records
    copied = came._replace(position=pack_position(Position(0, 0, 0), ORIGIN))
    assert kafka.headers_of(m) == [copied.header(), ("a", b"1"), ("b", b"2")]


def test_a_header_of_that_name_that_is_another_programs_is_copied_too() -> None:
    world = World()
    strange = ("provenance", b"from the old plant")
    world.kafka.write(RAW, b"x", [("a", b"1"), strange])
    Process(world, lambda: copying(RAW)).run_dry()
    (m,) = world.kafka.log(COPY, 0).records
    own = Provenance(position=pack_position(Position(0, 0, 0), ORIGIN))
    assert kafka.headers_of(m) == [own.header(), ("a", b"1"), strange]


def test_without_a_topic_it_does_not_start() -> None:
    with pytest.raises(ConfigError, match=r"copy\.from: no topic is named"):
        service.run(Config(), threading.Event())


def test_the_target_of_a_streams_topic_is_provided_with_the_same_partitions() -> None:
    config = Config.model_validate(
        {"streams": {"imu": {"partitions": 7}}, "copy": {"from": "imu.clean", "to": "imu_copy.clean"}}
    )
    specs = {spec.name: spec for spec in topic_specs(config)}
    assert specs["imu_copy.clean"] == specs["imu.clean"]._replace(name="imu_copy.clean")
