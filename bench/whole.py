"""The whole stack at a steady rate, idle and flooded: what each process takes, how late readings are."""

import asyncio
import io
import json
import time
from typing import Any, NamedTuple

import fastavro

from bench.figures import SHARES, Line, percentile
from bench.lakewatch import LakeWatch
from bench.load import Message, flood, steady
from bench.measure import family, services, usage, wait
from bench.sides import Bench
from bench.workloads import WORKLOADS
from headrace import kafka
from headrace.protocol.wire import FRAME_BYTES
from headrace.runtime import http
from headrace.stack.state import State

SETTLE = 3.0  # seconds for what was sent to go through
STREAM = "imu"


class Process(NamedTuple):
    """One of the stack's."""

    name: str
    pid: int


def processes(bench: Bench) -> list[Process]:
    """Those of the stack, and their supervisor."""
    found = [Process(name, it.pid) for name, it in services(bench.state).items()]
    return [*found, Process("supervisor", State(bench.state).read_json("stack.json")["supervisor"]["pid"])]


def at_rate(bench: Bench, rate: int, seconds: float) -> list[Line]:
    """The figures of so many readings a second, 0 for none, through the stack's own services."""
    them = processes(bench)
    alone = {it.name: family(it.pid) for it in them if it.name != "supervisor"}
    topics = [f"{STREAM}.{kind}" for kind in ("raw", "clean")]
    begins = {topic: _ends(bench, topic) for topic in topics}
    before, begun = _cpu(them, alone), time.monotonic()
    sent = 0
    if rate:
        sent = asyncio.run(steady(bench.servers.mqtt, _message, rate, seconds))
    else:
        time.sleep(seconds)
    took, after = time.monotonic() - begun, _cpu(them, alone)
    lines: list[Line] = [
        {
            "what": "steady",
            "rate": rate,
            "process": name,
            "core": (after[name] - before[name]) / took * 100,
            "sent": sent,
            "seconds": seconds,
        }
        for name in after
    ]
    if rate:
        time.sleep(SETTLE)
        lines += [_late(rate, topic.split(".")[1], delays(bench, topic, begins[topic])) for topic in topics]
    return lines


def until_rows(bench: Bench, rate: int, seconds: float) -> Line:
    """How late rows can be queried, at so many readings a second. By itself: to look costs the store something."""
    with LakeWatch(bench.state, f"{STREAM}.clean") as watch:
        sent = asyncio.run(steady(bench.servers.mqtt, _message, rate, seconds))
        late = watch.delays(sent, watch.rotation + 30)
    return {**_late(rate, "lake", late), "rotation_ms": watch.rotation * 1000}


def _late(rate: int, topic: str, late: list[float]) -> Line:
    found = {f"p{share:g}_ms": percentile(late, share / 100) for share in SHARES} if late else {}
    return {"what": "latency", "rate": rate, "topic": topic, "readings": len(late), **found}


def flooded(bench: Bench, count: int) -> Line:
    """So many readings as fast as the broker takes them: until they are in the lake, and what all processes cost."""
    them = processes(bench)
    alone = {it.name: family(it.pid) for it in them if it.name != "supervisor"}
    archive = services(bench.state)["archive"]

    def stored() -> float:
        return archive.total("headrace_archive_rows_total", stream=STREAM)

    had, before, begun = stored(), _cpu(them, alone), time.monotonic()
    asyncio.run(flood(bench.servers.mqtt, _message, count))
    wait("all in the lake", lambda: stored() >= had + count)
    took, after = time.monotonic() - begun, _cpu(them, alone)
    costs = {name: (after[name] - before[name]) / count * 1e6 for name in after}
    return {"what": "flood", "count": count, "rate": count / took, "cpu_us": sum(costs.values()), "processes": costs}


def delays(bench: Bench, topic: str, begins: dict[int, int]) -> list[float]:
    """Milliseconds from when a reading was sent, which it says itself, until Kafka had written it to its log."""
    schema = _schema(bench, topic)
    client = kafka.consumer(bench.servers.kafka, "bench-latency")
    ends = _ends(bench, topic)
    out = []
    try:
        for number, begin in begins.items():
            client.assign([kafka.TopicPartition(topic, number, begin)])
            left = ends[number] - begin
            until = time.monotonic() + 60
            while left > 0 and time.monotonic() < until:
                for m in client.consume(min(left, 5_000), 1.0):
                    if m.error() is None:
                        row: Any = fastavro.schemaless_reader(
                            io.BytesIO((m.value() or b"")[FRAME_BYTES:]), schema, None
                        )
                        out.append(m.timestamp()[1] - row["event_time"].timestamp() * 1000)
                        left = ends[number] - (m.offset() or 0) - 1
    finally:
        client.close()
    return out


def _message(i: int) -> Message:
    it = WORKLOADS["imu"]
    return f"sensors/{it.device(i)}/imu", it.make(i, time.time_ns() // 1000)


def _ends(bench: Bench, topic: str) -> dict[int, int]:
    from headrace.kafka.ends import ends_of

    count = kafka.describe(bench.servers.kafka, [topic])[topic].partitions
    found = ends_of(bench.admin, [(topic, n) for n in range(count)])
    return {number: end for (_, number), (_, end) in found.items()}


def _cpu(them: list[Process], alone: dict[str, list[int]]) -> dict[str, float]:
    """CPU seconds of each; the supervisor's without those of what it runs."""
    out = {it.name: usage(it.pid).cpu for it in them if it.name in alone}
    last = them[-1]
    out[last.name] = usage(last.pid, children=False).cpu
    return out


def _schema(bench: Bench, topic: str) -> Any:
    it = bench.servers.registry
    assert it.username is not None
    assert it.password is not None
    login = http.basic(it.username, it.password.get_secret_value())
    found = json.loads(http.get(f"{it.url}/subjects/{topic}-value/versions/latest", 10.0, login))
    return fastavro.parse_schema(json.loads(found["schema"]))
