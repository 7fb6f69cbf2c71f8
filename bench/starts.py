"""How long a service takes from its start until it has passed on the first reading that waited for it."""

import asyncio
import subprocess
import time
from collections.abc import Iterator

from bench import processors, sides
from bench.figures import Line
from bench.load import Message, fill, flood
from bench.measure import wait
from bench.sides import PARTITIONS, Bench, Side
from bench.workloads import LAKE, WORKLOADS

LOOKBACK = 200_000  # rows of a partition that clean looks back on, by default
STREAMS = 50
FEW = 3_000
SESSION_MS = 6_000


def measured(bench: Bench) -> list[Line]:
    """Seconds of each, as lines. All but the last are restarts."""
    return [
        {"what": "start", "name": name, "seconds": seconds}
        for name, seconds in (("bridge", _bridge(bench)), *_lake(bench), ("150 partitions", _many(bench)))
    ]


def _bridge(bench: Bench) -> float:
    token, work = f"start-{time.monotonic_ns()}", WORKLOADS["imu"]
    it = sides.bridge(bench, bench.own(work, token), [work.stream])

    def message(i: int) -> Message:
        return f"bench/{token}/{work.device(i)}/imu", work.make(i, time.time_ns() // 1000)

    with bench.running(it):
        pass  # its session stays
    asyncio.run(flood(bench.servers.mqtt, message, FEW))
    return _seconds(it, it.done() + 1)


def _lake(bench: Bench) -> Iterator[tuple[str, float]]:
    """Clean after a restart with a full look-back, stopped and killed before, and the archive where a batch waits.

    The time that Kafka waits for a killed member to come back does not count: the start begins after it.
    """
    work = LAKE._replace(apart="bench_start")
    path = bench.own(work, f"start-{time.monotonic_ns()}", session_ms=SESSION_MS, max_records=FEW // PARTITIONS // 4)
    clean, archive = sides.clean(bench, path, [work.stream]), sides.archive(bench, path, [work.stream])
    values = processors.datums(bench.servers.registry, work.stream)

    def load(count: int) -> None:
        fill(bench.servers.kafka, f"{work.stream}.raw", processors.records(count, values))

    count = LOOKBACK * PARTITIONS
    load(count)
    with bench.running(clean):
        wait("clean has passed on what it looks back on", lambda: clean.done() >= count)
    load(FEW)
    yield "clean", _seconds(clean, clean.done() + 1)
    load(FEW)
    with bench.running(clean) as it:
        wait("clean has passed on what came", lambda: clean.done() >= count + 2 * FEW)
        it.kill()
    wait("the group has forgotten what was killed", lambda: not bench.joined("bench-clean"))
    load(FEW)
    yield "clean, killed before", _seconds(clean, clean.done() + 1)
    with bench.running(archive):
        pass
    yield "archive", _seconds(archive, archive.done() + 1)


def _many(bench: Bench) -> float:
    """Clean on fifty streams, until each partition's first readings are passed on."""
    work = LAKE._replace(apart="bench_many")
    names = sides.streams_of(work, STREAMS)
    path = bench.own(work, f"many-{time.monotonic_ns()}", STREAMS)
    values = processors.datums(bench.servers.registry, names[0])
    for name in names:
        fill(bench.servers.kafka, f"{name}.raw", processors.records(200, values))
    it = sides.clean(bench, path, names)
    return _seconds(it, it.done() + 200 * STREAMS)


def _seconds(side: Side, count: int) -> float:
    """From the start of its process until it has passed on so many."""
    begun, none = time.monotonic(), subprocess.DEVNULL
    process = subprocess.Popen(side.argv, stdin=none, stdout=none, stderr=none)
    try:
        wait(f"{side.name}: the first readings", lambda: side.done() >= count, 120.0, 0.02)
        return time.monotonic() - begun
    finally:
        sides.end(process)
