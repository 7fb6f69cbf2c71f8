"""Derived streams around derive's protocol: configuration, letters, health, positions, ids, and the threads of one."""

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import deadletters, kafka
from headrace.config import Config, load
from headrace.config.check import Service, problems
from headrace.config.connect import Kafka
from headrace.config.model import Http
from headrace.deadletters import KafkaSource, Letter, Stage
from headrace.errors import ConfigError, FatalError, PoisonError, Reason
from headrace.kafka import Message
from headrace.operate.provision import topic_specs
from headrace.protocol.wire import ORIGIN, PROVENANCE, Headers, Position, Provenance, pack_position
from headrace.runtime.health import Checks, Health
from processors.derive import service as derive_service
from processors.derive import together
from processors.derive.deriver import settings_of
from processors.derive.ids import derived_id
from processors.derive.together import run_all
from processors.group import beginning, relay
from processors.group.relay import Settings
from processors.group.token import Partition
from processors.positions import new_messages
from processors.provenance import marks, nothing, placed
from tests.unit.test_positions import one_by_one, positions
from tests.unit.toy_kafka import ToyConsumer, ToyKafka

NOWHERE = "plant.nowhere:made"


def config_of(**streams: dict[str, Any]) -> Config:
    return Config.model_validate({"streams": streams})


def made_of(source: str, **more: Any) -> dict[str, Any]:
    return {"from": source, "transform": NOWHERE, **more}


@pytest.mark.parametrize(
    ("streams", "partitions"),
    [
        ({"a": {}, "b": made_of("a")}, {"a": 3, "b": 3}),
        ({"a": {"partitions": 7}, "b": made_of("a")}, {"a": 7, "b": 7}),
        ({"b": made_of("a"), "c": made_of("b"), "a": {"partitions": 7}}, {"a": 7, "b": 7, "c": 7}),
        ({"a": {"partitions": 7}, "b": made_of("a", partitions=7)}, {"a": 7, "b": 7}),
        ({"a": {}, "b": made_of("a", partitions=7), "c": made_of("b")}, {"a": 3, "b": 7, "c": 7}),
        ({"b": made_of("nowhere")}, {"b": 3}),
        ({"a": made_of("a")}, {"a": 3}),
        ({"a": made_of("b"), "b": made_of("a"), "c": made_of("a")}, {"a": 3, "b": 3, "c": 3}),
    ],
)
def test_a_derived_stream_has_as_many_partitions_as_its_source(
    streams: dict[str, dict[str, Any]], partitions: dict[str, int]
) -> None:
    config = config_of(**streams)
    assert {name: it.partitions for name, it in config.streams.items()} == partitions
    specs = {it.name: it.partitions for it in topic_specs(config)}
    assert all(specs[f"{name}.raw"] == specs[f"{name}.clean"] == n for name, n in partitions.items())


def test_it_is_found_by_its_place_in_the_chain_what_is_wrong() -> None:
    config = config_of(
        a={"partitions": 7}, b=made_of("a", partitions=5), c=made_of("b"), d=made_of("d"), e=made_of("d"),
        f=made_of("x"), g=made_of("f", routes=["g/{device_id}"]), h={"from": "g"},
    )  # fmt: skip
    found = [p.split(":")[0] for p in problems(config, [Service.DERIVE])]
    assert found == [
        "streams.b.partitions",
        "streams.d.from",
        "streams.f.from",
        "streams.g.routes",
        "streams.h.transform",
    ]
    assert problems(config_of(a={}, b=made_of("a"), c=made_of("b")), [Service.DERIVE]) == []
    assert [p for p in problems(config, [Service.CLEAN]) if "transform" in p] == []


def test_the_other_services_of_a_stream_take_it_as_any_other() -> None:
    config = config_of(a={}, b=made_of("a"), c=made_of("b"))
    assert (config.cleaned, config.derived) == (("a", "b", "c"), ("b", "c"))
    assert config.archived == ("a.clean", "b.clean", "c.clean")
    assert (config.group_of("b"), config.group_of("c")) == ("headrace-derive-b", "headrace-derive-c")
    some = Config.model_validate(config.model_dump(by_alias=True) | {"derive": {"streams": ["c"]}})
    assert (some.derived, problems(some, [Service.DERIVE])) == (("c",), [])


def test_the_source_may_come_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("streams: {a: {partitions: 4}, b: {transform: 'm:f'}}", encoding="utf-8")
    config = load(file, {"HEADRACE_STREAMS__B__FROM": "a"})
    assert (config.derived, config.streams["b"].partitions) == (("b",), 4)
    assert (
        load(file, {"HEADRACE_STREAMS__B__FROM": "a", "HEADRACE_STREAMS__A__PARTITIONS": "6"}).streams["b"].partitions
        == 6
    )


def test_what_the_relay_is_to_do_for_a_derived_stream() -> None:
    it = settings_of(config_of(a={}, b=made_of("a")), "b")
    assert (it.targets, it.group, it.by_target) == ({"a.clean": "b.raw"}, "headrace-derive-b", True)
    m = Message(topic="a.clean", partition=1, offset=5, headers=[Provenance(b"i" * 16).header()])
    assert it.id_of(m, 2) == derived_id(m, "b", 2)


def test_letters_of_two_derived_streams_and_of_the_archive_for_one_record_are_three() -> None:
    source = KafkaSource("imu.clean", "id", 2, 1, 77)

    def letter(stage: Stage, stream: str) -> Letter:
        return deadletters.letter(PoisonError(Reason.TRANSFORM, "x"), b"x", stage=stage, stream=stream, source=source)

    made = [letter(Stage.DERIVE, "b"), letter(Stage.DERIVE, "c"), letter(Stage.ARCHIVE, "imu")]
    assert len({it.key for it in made}) == 3
    assert letter(Stage.DERIVE, "b").key == made[0].key
    assert {dict(it.headers)["source"] for it in made} == {dict(made[0].headers)["source"]}


def message(**over: Any) -> Message:
    about: dict[str, Any] = {"topic": "imu.clean", "partition": 1, "offset": 5, "leader_epoch": 2}
    return Message(**(about | over))


def test_the_id_of_a_derived_row_is_of_its_reading_its_stream_and_its_place() -> None:
    known: Headers = [Provenance(b"i" * 16).header()]
    whole = [derived_id(message(headers=known), stream, item) for stream in ("b", "b1", "c") for item in (0, 1, 10)]
    other = [derived_id(message(headers=[Provenance(b"j" * 16).header()]), "b", 0)]
    bare = [
        derived_id(message(**over), "b", 0)
        for over in ({}, {"offset": 6}, {"partition": 2}, {"leader_epoch": 3}, {"topic": "env.clean"})
    ]
    assert len({*whole, *other, *bare}) == len(whole) + len(other) + len(bare)
    assert {len(it) for it in (*whole, *bare)} == {16}
    again = message(
        headers=[("x", b"y"), *known], offset=99, partition=0, leader_epoch=7
    )  # another copy of the reading
    assert derived_id(again, "b", 0) == whole[0]
    for odd in (b"short", None):
        assert derived_id(message(headers=[(PROVENANCE, odd)]), "b", 0) == bare[0]


@given(st.lists(positions, max_size=8), positions)
def test_positions_with_items_are_those_of_the_wire_format(srcs: list[Position], before: Position) -> None:
    pairs = itertools.pairwise([before, *srcs])
    expected = [[Provenance(position=pack_position(src, prev)).header()] for prev, src in pairs]
    epochs, offsets, items = (np.array([s[k] for s in srcs], np.int64) for k in range(3))
    assert placed(nothing(len(srcs)), epochs, offsets, before, items) == expected


@given(st.lists(st.none() | st.tuples(positions, positions), max_size=12), st.none() | positions, st.integers(0, 12))
def test_messages_are_new_by_the_rule_one_by_one_whatever_strangers_and_cuts_there_are(
    rows: list[tuple[Position, Position] | None], last: Position | None, cut: int
) -> None:
    messages = marks([[Provenance(position=pack_position(*r)).header()] if r else [] for r in rows])
    numbered = one_by_one([r for r in rows if r], last, loose=False)
    if numbered is None:
        with pytest.raises(FatalError, match="missing"):
            new_messages(messages, last)
        return
    wanted = iter(numbered)
    expected = [next(wanted) if r else True for r in rows]
    one, between = new_messages(messages[:cut], last)
    two, end = new_messages(messages[cut:], between)
    assert [*one.tolist(), *two.tolist()] == expected
    assert end == max([r[0] for r, new in zip(rows, expected, strict=True) if r and new], default=last)


ID = derived_id(message(headers=[Provenance(b"i" * 16).header()], partition=0, offset=1), "made", 1)


def row_of(event: bytes, src: Position, prev: Position) -> tuple[str, bytes]:
    return Provenance(event, position=pack_position(src, prev)).header()


def check_beginning(monkeypatch: pytest.MonkeyPatch, origin: bytes, row: bytes, item: int) -> None:
    cluster = ToyKafka()

    def ends(_: Kafka, partitions: list[Partition]) -> dict[Partition, tuple[int, int]]:
        return {p: (cluster.log(*p).low, cluster.log(*p).high) for p in partitions}

    monkeypatch.setattr(kafka, "consumer", lambda *_, **__: ToyConsumer(cluster))
    monkeypatch.setattr(beginning, "log_ends", ends)
    for event in (b"h" * 16, origin, b"k" * 16):
        cluster.write("imu.clean", b"x", [Provenance(event).header()])
    src = Position(0, 1, item)
    cluster.write("made.raw", b"x", [row_of(b"h" * 16, Position(0, 0, 0), ORIGIN)])
    cluster.write("made.raw", b"x", [row_of(row, src, Position(0, 0, 0))])
    id_of = settings_of(config_of(imu={}, made=made_of("imu")), "made").id_of
    beginning.check(Kafka(), {("imu.clean", 0): (0, 3)}, {"imu.clean": "made.raw"}, id_of)


def test_a_first_start_knows_the_newest_row_by_the_id_of_its_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    check_beginning(monkeypatch, b"i" * 16, ID, 1)
    for origin, row, item in ((b"j" * 16, ID, 1), (b"i" * 16, ID, 0), (b"i" * 16, b"i" * 16, 1)):
        with pytest.raises(FatalError, match=r"imu\.clean/0: nothing is committed, and made\.raw holds a row"):
            check_beginning(monkeypatch, origin, row, item)


def test_a_service_lives_while_each_of_its_parts_does() -> None:
    with Health(Http(), stalled_seconds=0.3) as health:
        assert health.is_ready()[0]
        parts = {name: health.part(name, ("kafka", "group")) for name in ("b", "c")}
        assert not health.is_ready()[0]
        for check, (name, part) in itertools.product(("kafka", "group"), parts.items()):
            assert health.is_ready()[1]["checks"][f"{check} of {name}"] == "starting"
            part.ready(check, True)
        assert health.is_ready()[0]
        parts["c"].ready("store", False, "away")
        assert health.is_ready() == (
            False, {"checks": {**dict.fromkeys((f"{k} of {n}" for n in "bc" for k in ("kafka", "group")), "ok"),
                               "store of c": "away"}},
        )  # fmt: skip
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            parts["b"].progress()
            health.progress()  # the whole does not speak for its parts
            time.sleep(0.02)
        assert not health.live()[0]
        parts["c"].progress()
        assert health.live()[0]


class Relays:
    """Stands in for relay.run: what each stream's loop does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **by_stream: Callable[[threading.Event], None]) -> None:
        self.ran: dict[str, Checks] = {}
        self._does = by_stream
        monkeypatch.setattr(relay, "run", self._run)
        monkeypatch.setattr(together, "Deriver", lambda _, stream, __: stream)

    def _run(self, settings: Settings, step: Any, health: Checks, stop: threading.Event) -> None:
        assert settings.group.endswith(f"-{step}")
        self.ran[step] = health
        self._does[step](stop)


def forever(stop: threading.Event) -> None:
    assert stop.wait(10)


def failing(error: BaseException) -> Callable[[threading.Event], None]:
    def fail(_: threading.Event) -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize("error", [FatalError("a hole"), ConfigError("wrong"), KeyError("a defect")])
def test_where_one_stream_fails_all_end_with_its_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    they, stop = Relays(monkeypatch, b=forever, c=failing(error), d=forever), threading.Event()
    config = config_of(a={}, b=made_of("a"), c=made_of("a"), d=made_of("b"))
    with Health(Http()) as health, pytest.raises(type(error)) as raised:
        run_all(config, health, stop)
    assert raised.value is error
    assert (set(they.ran), stop.is_set()) == ({"b", "c", "d"}, True)


def test_all_end_where_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    they, stop = Relays(monkeypatch, b=forever, c=forever), threading.Event()
    threading.Timer(0.1, stop.set).start()
    derive_service.run(config_of(a={}, b=made_of("a"), c=made_of("a")), stop)
    assert they.ran.keys() == {"b", "c"}


def test_without_a_derived_stream_it_waits_and_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(derive_service, "_IDLE_SECONDS", 0.01)
    monkeypatch.setattr(Health, "progress", lambda it: seen.append(it.is_ready()[0]))
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    derive_service.run(config_of(a={}), stop)
    assert set(seen) == {True}


def test_a_function_that_can_not_be_loaded_ends_it_before_anything_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "made.py"
    file.write_text("def other(df): ...\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"made\.py.*defines no function `transform`"):
        derive_service.run(config_of(a={}, b={"from": "a", "transform": file}), threading.Event())
