"""A contract that changes while readings come: refused, or taken by one bridge after the other. Exact counts."""

import asyncio
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import orjson
import pytest

from headrace.config import Config, load
from headrace.contracts.model import parse
from headrace.operate import provision
from headrace.runtime import http
from headrace.schema_registry.client import Registry
from headrace.store.open import open_store
from tests.integration.processes import records, running
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1")]
TIME = 1_700_000_000_000_000
KEYS: list[dict[str, Any]] = [
    {"name": "device_id", "type": "string", "doc": "Which."},
    {
        "name": "event_time",
        "type": {"type": "long", "logicalType": "timestamp-micros"},
        "doc": "When.",
        "minimum": 946684800000000,
    },
]
QUALITY = {"name": "_quality", "type": ["null", "string"], "default": None, "doc": "What cleaning did."}
HEAT: dict[str, Any] = {"name": "heat", "type": "double", "doc": "Of the water.", "unit": "Cel"}
FLOW: dict[str, Any] = {
    "name": "flow",
    "type": ["null", "double"],
    "default": None,
    "doc": "New firmware has it.",
    "unit": "L/min",
}


class World:
    """Streams of one's own on the session's servers. `versions`: their contracts, each folder a version of them."""

    def __init__(self, stack: Stack, folder: Path, name: str, streams: list[str], **over: Any) -> None:
        self._stack, self._folder, self._name, self._over = stack, folder, name, over
        self._streams = {
            s: {"partitions": 1, "routes": [{"filter": f"{s}/{{device_id}}", "unknown_fields": "ignore"}]}
            for s in streams
        }

    def version(self, name: str, client: str, **contracts: list[dict[str, Any]]) -> Path:
        """The configuration of a bridge with these fields in its contracts."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        for stream, fields in contracts.items():
            schema = {"type": "record", "name": stream, "doc": "Water.", "fields": [*KEYS, *fields, QUALITY]}
            (folder / f"{stream}.avsc").write_text(json.dumps(schema))
        bridge = {"client_id": f"headrace-{self._name}-{client}", **self._over}
        settings = {
            "contracts": [str(folder)],
            "streams": self._streams,
            "bridge": bridge,
            "dead_letters": {"topic": f"{self._name}-letters"},
            "clean": {"group": f"{self._name}-clean"},
            "archive": {"group": f"{self._name}-archive", "idle_seconds": 1, "max_age_seconds": 5},
        }
        return self._stack.config_file(self._folder / f"{name}.yaml", settings)

    def run(self, path: Path, *args: str, ok: bool = True) -> Any:
        return orjson.loads(self._stack.run("--config", str(path), *args, ok=ok).stdout)

    @contextmanager
    def bridge(self, path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", list[Any]]]:
        """A bridge that receives, and what it has logged until then."""
        command, log = [sys.executable, "-m", "bridge", "--config", str(path)], path.with_suffix(".log")
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, stderr=output)
        try:
            until(lambda: process.poll() is not None or b'"receiving"' in log.read_bytes(), "bridge", 60)
            assert process.poll() is None, log.read_text()
            yield process, [orjson.loads(line) for line in log.read_bytes().splitlines()]
        finally:
            process.kill()
            process.wait()

    def stop(self, process: "subprocess.Popen[bytes]") -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def publish(config: Config, topics: list[str], numbers: range, **more: Any) -> None:
    async def main() -> None:
        mqtt = config.mqtt
        password = mqtt.password.get_secret_value() if mqtt.password else None
        async with aiomqtt.Client(mqtt.host, mqtt.port, username=mqtt.username, password=password) as client:
            for i in numbers:
                for topic in topics:
                    payload = {"event_time": TIME + i, "heat": i / 10, **more}
                    await client.publish(topic, orjson.dumps(payload), qos=1)

    asyncio.run(main())


def until(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"no {what} in {seconds:.0f} s"
        time.sleep(0.2)


def test_a_refused_contract_stops_its_own_stream_only_and_what_came_for_it_is_redriven(
    stack: Stack, tmp_path: Path
) -> None:
    good, bad = "chg_good", "chg_bad"
    world = World(stack, tmp_path, "chg", [good, bad])
    path = world.version("first", "a", **{good: [HEAT], bad: [HEAT]})
    config = load(path, {})
    provision.topics(config)
    provision.contracts(config)

    def raw(stream: str) -> int:
        return len(records(config, f"{stream}.raw", 0))

    topics = [f"{good}/dev-1", f"{bad}/dev-1"]
    changed = world.version("second", "a", **{good: [HEAT], bad: [{**HEAT, "type": "string", "unit": None}]})
    said: list[str] = []
    provision.contracts(load(changed, {}), said.append)
    assert len(said) == 1
    assert "field heat changed from double to string" in said[0]
    with world.bridge(changed) as (bridge, lines):
        (line,) = [x for x in lines if x["event"] == "a stream is refused"]
        assert (line["level"], line["stream"]) == ("ERROR", bad)
        assert "field heat changed from double to string" in line["why"]
        port = next(x["health_port"] for x in lines if "health_port" in x)
        status, body = http.status_of(f"http://127.0.0.1:{port}/readyz")
        assert status == 200
        assert "contracts upgrade chg_bad" in orjson.loads(body)["warnings"][f"contract of {bad}"]
        publish(config, topics, range(20))
        until(lambda: raw(good) == 20, "reading of the other stream")
        letters = world.run(path, "dlq", "list", "--json")["letters"]
        assert Counter((x["stream"], x["reason"]) for x in letters) == {(bad, "contract_refused"): 20}
        assert raw(bad) == 0
        world.stop(bridge)
    mended = world.version("third", "a", **{good: [HEAT], bad: [HEAT, FLOW]})
    redriven = world.run(mended, "dlq", "redrive", "--yes", "--json", "--wait", "0", ok=False)
    assert sum(redriven["counts"].values()) == 20
    assert raw(bad) == 20


@pytest.mark.long
def test_an_old_and_a_new_bridge_share_a_stream_and_each_reading_is_one_row(stack: Stack, tmp_path: Path) -> None:
    stream = "rolling"
    world = World(stack, tmp_path, stream, [stream], shared_group="rolling")
    old = world.version("old", "old", **{stream: [HEAT]})
    new = world.version("new", "new", **{stream: [HEAT, FLOW]})
    config = load(old, {})
    provision.topics(config)
    provision.contracts(config)
    topics = [f"{stream}/dev-{n}" for n in range(4)]
    with running("clean", new), running("archive", new), world.bridge(old) as (first, _):
        publish(config, topics, range(100), flow=1.5)
        with world.bridge(new) as (second, _):
            publish(config, topics, range(100, 400), flow=1.5)  # the broker gives each message to one of the two
            world.stop(first)
            command = [sys.executable, "-m", "bridge", "drain", "--config", str(old)]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
            publish(config, topics, range(400, 500), flow=1.5)
            report = world.run(new, "verify", "--wait", "60", "--json")["streams"][stream]
            world.stop(second)
    assert (report["stored"], report["gaps"], report["duplicates"]) == (2000, 0, 0)
    sql = f"""select count(*) as rows, count(distinct (device_id, event_time)) as different, count(flow) as flow,
        count(flow) filter (event_time < make_timestamptz({TIME + 100})) as early,
        count(flow) filter (event_time >= make_timestamptz({TIME + 400})) as late from {stream}"""
    (row,) = world.run(new, "query", "--format", "json", sql)
    assert (row["rows"], row["different"], row["early"], row["late"]) == (2000, 2000, 0, 400)
    assert 400 < row["flow"] < 1600, "both bridges had a share"
    values = [m.value() or b"" for m in records(config, f"{stream}.clean", 0)]
    changes = sum(a[:5] != b[:5] for a, b in itertools.pairwise(values))
    store = open_store(config.store)
    batches = sum(1 for _ in store.list(f"_ledger/{stream}.clean/"))
    files = list(store.list(f"{stream}/"))
    assert changes > 10, "schema ids alternate in the log"
    assert len(files) <= 2 * batches < changes


def test_services_that_start_at_the_same_moment_register_one_contract(stack: Stack) -> None:
    schema = {"type": "record", "name": "once", "fields": [*KEYS, HEAT, QUALITY]}
    contract, workers = parse("once", json.dumps(schema)), 4
    gate, found = threading.Barrier(workers), list[tuple[str, int]]()

    def serve() -> None:
        with Registry(stack.config().registry) as registry:
            for n in range(5):
                gate.wait(30)
                found.append((f"once-{n}", registry.register(f"once-{n}", contract)))

    threads = [threading.Thread(target=serve) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5 * workers
    assert len(set(found)) == 5
