"""Dead letters redriven once contract or route is right: each becomes its reading once, whatever is interrupted."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiomqtt
import orjson
import pytest
import yaml

from bridge.redrive.again import Again, Outcome
from bridge.redrive.sending import Item, Sender
from bridge.routing import build
from headrace import deadletters
from headrace.config import Config, load
from headrace.contracts import files
from headrace.deadletters import journal, mending
from headrace.deadletters.exchange import Request
from headrace.deadletters.mending import Mended
from headrace.kafka import headers_of, partition
from headrace.operate import provision
from headrace.protocol.wire import provenance
from headrace.schema_registry.client import Registry
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-2")]
STREAM, RAW = "again", "again.raw"
FIRST = 1_700_000_000_000_000
FIELDS: list[dict[str, Any]] = [
    {"name": "device_id", "type": "string", "doc": "Which device."},
    {
        "name": "event_time",
        "type": {"type": "long", "logicalType": "timestamp-micros"},
        "doc": "When it was measured.",
        "minimum": 946684800000000,
    },
    {"name": "heat", "type": "double", "doc": "Of the water.", "unit": "Cel", "minimum": -50, "maximum": 50},
    {"name": "_quality", "type": ["null", "string"], "default": None, "doc": "Null until cleaning changed something."},
]


class World:
    """The services of a stream, on the session's servers, and a configuration that the tests change."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self._contracts = folder / "contracts"
        self._contracts.mkdir()
        self.widen(50)
        self.path = stack.config_file(
            folder / "again.yaml",
            {
                "contracts": [str(self._contracts)],
                "streams": {STREAM: {"partitions": 2, "routes": ["again/{device_id}/heat"]}},
                "bridge": {"client_id": "headrace-again", "unrouted": ["again/#"]},
                # Small, so that a redrive that is finished later is single without the look-back.
                "clean": {"group": "again-clean", "lookback": 20},
                "archive": {"group": "again-archive", "idle_seconds": 1, "max_age_seconds": 5},
                "dead_letters": {"topic": "again-dead-letters"},
            },
        )
        provision.topics(self.config)
        provision.contracts(self.config)

    @property
    def config(self) -> Config:
        return load(self.path, {})

    def widen(self, maximum: float) -> None:
        fields = [{**f, "maximum": maximum} if f["name"] == "heat" else f for f in FIELDS]
        contract = {"type": "record", "name": STREAM, "namespace": "tests", "doc": "Water.", "fields": fields}
        (self._contracts / f"{STREAM}.avsc").write_text(json.dumps(contract), encoding="utf-8")

    def route(self, *filters: str) -> None:
        data = yaml.safe_load(self.path.read_text())
        data["streams"][STREAM]["routes"] = list(filters)
        self.path.write_text(yaml.safe_dump(data))

    def run(self, *args: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return self._stack.run("--config", str(self.path), *args, ok=ok)

    def redrive(self, *args: str, ok: bool = True) -> dict[str, int]:
        """How many letters had which fate."""
        counts: dict[str, int] = orjson.loads(self.run("dlq", "redrive", "--yes", "--json", *args, ok=ok).stdout)[
            "counts"
        ]
        return counts

    def listed(self, *args: str) -> Any:
        """What `dlq list` says."""
        return orjson.loads(self.run("dlq", "list", "--json", *args).stdout)

    def letters(self, device: str) -> dict[str, int]:
        """How many letters of a device there are in each state that occurs."""
        found = self.listed()["letters"]
        return dict(Counter(it["state"] for it in found if f"/{device}/" in it["mqtt_topic"]))

    def publish(self, messages: list[tuple[str, Any]]) -> None:
        self.publish_bytes([(topic, orjson.dumps(payload)) for topic, payload in messages])

    def publish_bytes(self, messages: list[tuple[str, bytes]]) -> None:
        asyncio.run(self._publish(messages))

    async def _publish(self, messages: list[tuple[str, bytes]]) -> None:
        mqtt = self.config.mqtt
        password = mqtt.password.get_secret_value() if mqtt.password else None
        async with aiomqtt.Client(mqtt.host, mqtt.port, username=mqtt.username, password=password) as client:
            for topic, payload in messages:
                await client.publish(topic, payload, qos=1)

    def await_letters(self, device: str, count: int) -> None:
        """Until there are `count` new ones of the device. Read here: a command each time would take the processor."""

        def found() -> int:
            letters = deadletters.read(self.config)
            return sum(f"/{device}/" in (it.text("mqtt-topic") or it.source.get("mqtt_topic", "")) for it in letters)

        until(lambda: found() == count, f"{count} letters")
        assert self.letters(device).get("open") == count

    def stored(self, device: str) -> tuple[int, int]:
        """(rows, different ones) of a device, once all is in the lake without gap or duplicate."""
        out = orjson.loads(self.run("verify", "--wait", "60", "--json").stdout)
        report = out["streams"][STREAM]
        assert (report["gaps"], report["duplicates"]) == (0, 0)
        sql = f"select count(*) as n, count(distinct event_time) as d from again where device_id = '{device}'"
        (row,) = orjson.loads(self.run("query", "--format", "json", sql).stdout)
        return row["n"], row["d"]

    def carries(self) -> bool:
        """Whether the bridge has subscribed: what was published before does not come."""
        self.publish([("again/first/heat", {"event_time": FIRST, "heat": 1})])
        return bool(self.event_ids())

    def event_ids(self) -> list[bytes]:
        """Those of every record in the raw topic."""
        client = partition.reader(self.config.kafka)
        try:
            found = [m for p in range(2) for m in partition.read(client, RAW, p)]
            return [provenance(headers_of(m)).event_id or b"" for m in found]
        finally:
            client.close()


@pytest.fixture(scope="module")
def services(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(stack, tmp_path_factory.mktemp("again"))
    running = []
    try:
        for name in (["bridge"], ["processors", "clean"], ["processors", "archive"]):
            argv = [sys.executable, "-m", *name, "--config", str(world.path)]
            running.append(subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.DEVNULL))
        until(world.carries, "the bridge's first reading")
        yield world
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.fixture
def world(services: World) -> World:
    """Nothing open, and the contract and route as at first."""
    services.widen(50)
    services.route("again/{device_id}/heat")
    return services


def until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 180
    while not reached():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.3)


def too_hot(device: str, count: int) -> list[tuple[str, Any]]:
    return [(f"again/{device}/heat", {"event_time": FIRST + i, "heat": 80 + i % 5}) for i in range(count)]


def test_a_range_that_was_too_tight(world: World) -> None:
    world.publish(too_hot("tight", 3))
    world.await_letters("tight", 3)
    assert world.redrive("--dry-run") == {"would go": 3}
    assert world.redrive(ok=False) == {"refused again": 3}, "the contract is still the same"
    assert world.letters("tight") == {"open": 3, "refused again": 3}

    world.widen(100)
    assert world.redrive() == {"redriven": 3}
    # With its first id a letter's reading would be dropped here: the refused one stands in the look-back.
    assert world.stored("tight") == (3, 3)
    assert world.letters("tight") == {"redriven": 3, "refused again": 3}
    report = orjson.loads(world.run("verify", "--json").stdout)["streams"][STREAM]
    assert (report["dead_letters"], report["dead_letters_redriven"]) == (0, 6)

    assert world.redrive() == {}, "nothing is left to send"
    assert world.stored("tight") == (3, 3)


@pytest.mark.long
def test_killed_in_the_middle_of_2_000_letters_again_and_again(world: World) -> None:
    count = 2000
    world.publish(too_hot("killed", count))
    world.await_letters("killed", count)
    world.widen(100)
    before = len(world.event_ids())
    for answers in (0, 1, 100):  # a full pipe holds it back: it is never far ahead
        kill_redrive(world, answers)
    states = world.letters("killed")
    assert 0 < states["redriven"] < count
    assert world.redrive() == {"redriven": count - states["redriven"]}
    assert world.stored("killed") == (count, count)
    assert world.letters("killed") == {"redriven": count}
    assert len(world.event_ids()) == before + count, "one was sent twice, and only the look-back hid it"


def kill_redrive(world: World, answers: int, mended: Mapping[bytes, Mended] = MappingProxyType({})) -> None:
    """Redrive all open letters, or those that are mended, and kill -9 the process after this many answers."""
    keys = mended or [it.key for it in journal.load(world.config).open()]
    argv = [sys.executable, "-m", "bridge", "redrive", "--config", str(world.path)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(Request(frozenset(keys), mended=mended).encode())
        process.stdin.close()
        begun = len(journal.load(world.config).notes)
        for _ in range(answers):
            process.stdout.readline()
        if not answers:
            until(lambda: len(journal.load(world.config).notes) > begun, "a note that a redrive begins")
        process.kill()


class DyingSender(Sender):
    """Kafka has the readings, and the process dies before it can say so."""

    def _note(self, letter: Any, note: journal.RedriveNote) -> None:
        if note.sent:
            raise ProcessLookupError
        super()._note(letter, note)


@pytest.mark.long
def test_a_redrive_that_was_interrupted_after_its_readings_does_not_send_them_twice(world: World) -> None:
    world.publish(too_hot("broken", 5))
    world.await_letters("broken", 5)
    world.widen(100)
    config = world.config
    contract = files.find(STREAM, config.contracts)
    with Registry(config.registry) as registry:
        number = registry.register(f"{RAW}-value", contract)
        again = Again(build(config), {STREAM: contract}, {STREAM: number}, {STREAM: 100_000}, registry.schema_text)
        chosen = {it.key for it in journal.load(config).open()}
        items = [Item(it, 1, again.judge(it, it.value, 1)) for it in deadletters.read(config) if it.key in chosen]
    assert all(i.outcome == Outcome(i.outcome.records) for i in items)
    with DyingSender(config, [100_000], []) as sender, pytest.raises(ProcessLookupError):
        sender.send(items)
    assert world.letters("broken") == {"begun": 5}
    # The look-back forgets them.
    world.publish([("again/other/heat", {"event_time": FIRST + i, "heat": 1}) for i in range(200)])
    world.publish([("again/broken/heat", {"event_time": FIRST - 1 - i, "heat": 1}) for i in range(100)])
    assert world.stored("broken") == (105, 105)
    assert world.redrive() == {"redriven": 5}
    assert world.stored("broken") == (105, 105)
    assert world.letters("broken") == {"redriven": 5}


@pytest.mark.long
def test_a_route_that_was_missing_and_an_array_with_one_bad_element(world: World) -> None:
    rows: list[Any] = [{"event_time": FIRST + i, "heat": 20} for i in range(5)]
    rows[3]["heat"] = "warm"
    world.publish([("again/late/attic", {"event_time": FIRST - 1, "heat": 20}), ("again/late/attic", rows)])
    world.publish([("again/late/cellar/deep", {"event_time": FIRST - 2, "heat": 20})])
    world.await_letters("late", 3)
    assert world.redrive(ok=False) == {"refused": 3}, "there is no route yet"
    assert world.letters("late") == {"open": 3}

    world.route("again/{device_id}/heat", "again/{device_id}/attic")
    assert world.redrive(ok=False) == {"redriven": 1, "refused again": 1, "refused": 1}
    assert world.stored("late") == (5, 5)
    assert world.letters("late") == {"redriven": 1, "refused again": 1, "open": 2}
    words = world.run("dlq", "list").stdout
    assert "wrong_type  heat" in words, "the element that is no reading is a letter of its own"
    assert "no_route" in words


@pytest.mark.long
def test_letters_are_chosen_by_device_and_time_and_dropped_on_the_record(world: World) -> None:
    world.publish(too_hot("sick", 4) + too_hot("well", 3))
    world.await_letters("sick", 4)
    world.await_letters("well", 3)
    (group,) = world.listed("--device", "sick")["groups"]
    assert (group["reason"], group["field"], group["count"], group["devices"]) == (
        "out_of_range",
        "heat",
        4,
        {"sick": 4},
    )
    last = max(it["time"] for it in world.listed("--device", "sick")["letters"])
    assert world.listed("--device", "sick", "--until", "2020-01-01")["count"] == 0
    assert world.listed("--device", "sick", "--since", last)["count"] > 0

    assert "say which" in world.run("dlq", "drop", "--yes", ok=False).stderr
    assert "Add --yes" in world.run("dlq", "drop", "--device", "sick", ok=False).stderr
    assert "4 would be dropped" in world.run("dlq", "drop", "--device", "sick", "--dry-run").stderr
    assert world.letters("sick") == {"open": 4}
    world.run("dlq", "drop", "--device", "sick", "--reason", "out_of_range", "--yes", "--by", "ana")
    assert world.letters("sick") == {"dropped": 4}
    assert " sick " not in world.run("dlq", "list", "--stream", STREAM).stdout
    assert " sick " in world.run("dlq", "list", "--all", "--by-device").stdout
    one = world.listed("--device", "sick")["letters"][0]
    assert one["dropped"]["by"] == "ana"
    assert one["dropped"]["filter"] == "reason out_of_range, device sick"
    shown = world.run("dlq", "show", one["key"]).stdout
    assert "dropped: by ana at " in shown
    assert "what to do: If the value can be, widen `minimum`, `maximum`" in shown
    report = orjson.loads(world.run("verify", "--wait", "60", "--json").stdout)["streams"][STREAM]
    assert report["dead_letters_dropped"] == 4

    sql = "select device, state, count(*) n from dead_letters where device in ('sick', 'well') group by all order by 1"
    expected = [{"device": "sick", "state": "dropped", "n": 4}, {"device": "well", "state": "open", "n": 3}]
    assert orjson.loads(world.run("query", "--format", "json", sql).stdout) == expected
    assert " records of again-dead-letters kept" in world.run("dlq", "archive").stderr
    assert "0 records of again-dead-letters kept" in world.run("dlq", "archive").stderr
    assert orjson.loads(world.run("query", "--format", "json", sql).stdout) == expected, "now from the lake"

    world.widen(100)
    assert world.redrive("--reason", "out_of_range", "--until", "2020-01-01") == {}
    assert world.redrive("--reason", "out_of_range", "--device", "well") == {"redriven": 3}
    assert world.redrive("--device", "sick") == {}, "what was dropped is left alone"
    assert world.redrive("--device", "sick", "--dropped", "--limit", "3") == {"redriven": 3}
    assert world.letters("sick") == {"redriven": 3, "dropped": 1}
    assert world.stored("sick") == (3, 3)
    assert world.stored("well") == (3, 3)


@pytest.mark.long
def test_letters_mended_by_hand_become_readings_once_though_their_redrive_is_killed(
    world: World, tmp_path: Path
) -> None:
    count = 1000
    texts = [b'{"event_time": %d, "heat": 2%d' % (FIRST + i, i % 9) for i in range(count)]  # cut off
    world.publish_bytes([("again/cut/heat", text) for text in texts])
    world.publish(too_hot("cut", 1))
    world.await_letters("cut", count + 1)
    file, folder = tmp_path / "cut.jsonl", tmp_path / "cut"
    world.run("dlq", "export", "--device", "cut", "--out", str(file))
    world.run("dlq", "export", "--device", "cut", "--folder", str(folder))
    assert mending.read_back(file) == mending.read_back(folder)

    assert world.redrive("--from", str(file), ok=False) == {"refused": count, "refused again": 1}, "nothing is mended"
    lines = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    lines = [line | {"payload": line["payload"] + "}"} for line in lines if "payload" in line]
    file.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    before = len(world.event_ids())
    for answers in (0, 1):  # a full pipe holds it back: it is never far ahead
        kill_redrive(world, answers, mending.read_back(file))
    begun = world.letters("cut").get("begun", 0)
    if begun:
        assert world.redrive("--reason", "malformed", "--device", "cut", ok=False).get("unsure", 0) == begun
    sent = world.letters("cut")["redriven"]
    assert world.redrive("--from", str(file)) == {"redriven": count - sent}
    assert world.stored("cut") == (count, count)
    assert len(world.event_ids()) == before + count, "one was sent twice, and only the look-back hid it"

    world.run("dlq", "export", "--device", "cut", "--folder", str(tmp_path / "hot"))
    (hot,) = (tmp_path / "hot").glob("*.reading")
    hot.write_bytes(orjson.dumps(orjson.loads(hot.read_bytes()) | {"heat": 8.0}))
    assert world.redrive("--from", str(tmp_path / "hot")) == {"redriven": 1}
    # Its time is that of the first of the others: another reading of the same moment.
    assert world.stored("cut") == (count + 1, count)
