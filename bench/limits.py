"""The limits beside the figures: what the parts cost that no bridge, clean or archive written in Python can do without.

The bare codec reading PUBLISH packets, librdkafka producing and consuming 150 bytes, Parquet written from columns, and
polars reading Avro. CPU microseconds a reading of this process, all its threads.
"""

import io
import time
from collections.abc import Callable
from typing import Any

import mqtt5

from bench.figures import Line
from bench.sides import Bench
from bench.workloads import WORKLOADS
from headrace import kafka
from headrace.mqtt.frames import Frames

TOPIC = "bench-limits"


def measured(bench: Bench, count: int) -> list[Line]:
    """A line for each limit."""
    payload = WORKLOADS["imu"].make(1, time.time_ns() // 1000)
    bench.topic(TOPIC)
    parts: dict[str, Callable[[], float]] = {
        "MQTT packets read by the codec": lambda: _drain(payload, count),
        "librdkafka produce": lambda: _produce(bench, payload, count),
        "librdkafka consume": lambda: _consume(bench, count),
        "Parquet written": lambda: _parquet(count),
        "polars.read_avro": lambda: _avro(count),
    }
    return [{"what": "limit", "name": name, "us": part() / count * 1e6} for name, part in parts.items()]


def _timed(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _drain(payload: bytes, count: int) -> float:
    packet = mqtt5.PublishPacket("bench/x/imu", payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=7).write()
    chunk, times = packet * 400, count // 400
    frames = Frames(mqtt5.read, 1 << 20)
    return _timed(lambda: [frames.feed(chunk) for _ in range(times)]) / (times * 400) * count


def _produce(bench: Bench, payload: bytes, count: int) -> float:
    producer = kafka.producer(bench.servers.kafka, linger_ms=50)

    def work() -> None:
        for i in range(count):
            while True:
                try:
                    producer.produce(TOPIC, payload, b"k", i % 3)
                    break
                except BufferError:
                    producer.poll(0.1)
        while producer.flush(1.0):
            pass

    return _timed(work)


def _consume(bench: Bench, count: int) -> float:
    client = kafka.consumer(bench.servers.kafka, "bench-limits")
    ends = [kafka.watermarks(client, TOPIC, n)[1] for n in range(3)]
    client.assign([kafka.TopicPartition(TOPIC, n, max(0, end - count // 3)) for n, end in enumerate(ends)])
    until = time.monotonic() + 60

    def work() -> None:
        seen = 0
        while seen < count // 3 * 3 and time.monotonic() < until:
            seen += len(client.consume(10_000, 1.0))

    try:
        return _timed(work)
    finally:
        client.close()


def _columns(count: int) -> Any:
    import polars as pl

    names = ("ax", "ay", "az", "gx", "gy", "gz", "temperature")
    return pl.DataFrame(
        {
            "device_id": [f"bench-{i % 500}" for i in range(count)],
            "event_time": range(count),
            **{name: [i % 977 / 10 for i in range(count)] for name in names},
        }
    )


def _parquet(count: int) -> float:
    frame = _columns(count)
    return _timed(lambda: frame.write_parquet(io.BytesIO(), compression="zstd", compression_level=3))


def _avro(count: int) -> float:
    import polars as pl

    file = io.BytesIO()
    _columns(count).write_avro(file)
    return _timed(lambda: pl.read_avro(io.BytesIO(file.getvalue())))
