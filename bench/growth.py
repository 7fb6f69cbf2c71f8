"""How cost and memory grow: with streams, devices, readings and processes, all else equal."""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from bench import processors, sides
from bench.chain import chain
from bench.figures import Line
from bench.load import Message, fill, flood
from bench.sides import Bench
from bench.workloads import LAKE, WORKLOADS

STREAMS = (1, 10, 50)  # of three partitions each
TOPICS = 500  # of MQTT, where streams vary
READINGS = 1_000_000  # in Kafka, where streams vary
DEVICES = (10, 10_000)
PROCESSES = (1, 2)


class Size(NamedTuple):
    """One run of the growth benchmark, which gives lines with `kind` and `size`."""

    side: str
    run: Callable[[], list[Line]]


def sizes(bench: Bench, messages: int, readings: int, most: int) -> Iterator[Size]:
    """All runs: over MQTT with so many messages, in Kafka with so many readings, and up to `most` of them."""
    for n in STREAMS:  # as many MQTT topics in all: else their first messages cost more than the streams
        yield Size("bridge", partial(_bridge, bench, "streams", n, messages, streams=n, devices=TOPICS // n))
        yield Size("lake", partial(_lake, bench, "streams", n, min(most, READINGS), streams=n))
    for n in DEVICES:
        yield Size("bridge", partial(_bridge, bench, "devices", n, messages, devices=n))
        yield Size("lake", partial(_lake, bench, "devices", n, readings, devices=n))
    for n in PROCESSES:
        yield Size("lake", partial(_lake, bench, "processes", n, readings, processes=n))
    count = 100_000
    while count <= most:
        yield Size("lake", partial(_lake, bench, "readings", count, count))
        count *= 10


def _bridge(bench: Bench, kind: str, size: int, count: int, streams: int = 1, devices: int = 500) -> list[Line]:
    token = f"growth-{time.monotonic_ns()}"
    work = WORKLOADS["imu"]._replace(apart=f"bench_growth_{streams}")
    names = sides.streams_of(work, streams)

    def message(i: int) -> Message:
        where = f"bench/{token}/{names[i % streams]}" if streams > 1 else f"bench/{token}"
        # Streams and devices vary apart: each stream hears all devices.
        return f"{where}/bench-{i // streams % devices:05d}/imu", work.make(i, time.time_ns() // 1000)

    it = sides.bridge(bench, bench.own(work, token, streams), names)
    return _told(chain(bench, [it], lambda: asyncio.run(flood(bench.servers.mqtt, message, count)), count), kind, size)


def _lake(
    bench: Bench, kind: str, size: int, count: int, streams: int = 1, devices: int = 500, processes: int = 1
) -> list[Line]:
    work = LAKE._replace(apart=f"bench_lake_{streams}")
    names = sides.streams_of(work, streams)
    path = bench.own(work, f"lake-{time.monotonic_ns()}", streams)
    them = [sides.clean(bench, path, names, processes), sides.archive(bench, path, names, processes)]
    values = processors.datums(bench.servers.registry, names[0], devices)
    each = count // streams

    def load() -> None:
        for name in names:
            fill(bench.servers.kafka, f"{name}.raw", processors.records(each, values, devices))

    lines = chain(bench, them, load, each * streams)
    return _told([{**line, "rss_mb": line["rss_mb"] / processes} for line in lines], kind, size)


def _told(lines: list[Line], kind: str, size: int) -> list[Line]:
    return [{**line, "what": "growth", "kind": kind, "size": size} for line in lines]
