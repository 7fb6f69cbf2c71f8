"""The limits beside the figures: what the parts cost that no bridge, clean or archive written in Python can do without.

The bare codec reading PUBLISH packets and acknowledging them; Kafka's client producing, consuming, and both, in bare
loops; Parquet written from columns; polars reading Avro. CPU microseconds a reading of this process, all its threads.

Records are as the bridge makes them of an IMU reading: a key, a value of 100 bytes and one header of 60. Producers are
told of each record that Kafka has it, as the bridge must be; clean needs to hear of errors only.
"""

import io
import os
import time
from collections.abc import Callable
from typing import Any

import mqtt5

from bench.figures import Line
from bench.sides import Bench
from bench.workloads import WORKLOADS
from headrace import kafka
from headrace.mqtt import packets
from headrace.mqtt.frames import Frames

TOPIC, COPY = "bench-limits", "bench-limits-copy"
DEVICES = 500
IN_FLIGHT = 10_000  # records, as the bridge has at most while messages are one reading each


def measured(bench: Bench, count: int) -> list[Line]:
    """A line for each limit."""
    payload = WORKLOADS["imu"].make(1, time.time_ns() // 1000)
    bench.topic(TOPIC)
    bench.topic(COPY)
    parts: dict[str, Callable[[], float]] = {
        "MQTT packets read by the codec, and PUBACKs made": lambda: _drain(payload, count),
        "Kafka's client: a record without key, header and report": lambda: _produce(bench, count, plain=True),
        "Kafka's client: a record with key, header and report, as the bridge's": lambda: _produce(bench, count),
        "Kafka's client: consumed and produced again, as by clean": lambda: _copy(bench, count),
        "Kafka's client: consumed, as by the archive": lambda: _consume(bench, count),
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

    def work() -> None:
        for _ in range(times):
            found = frames.feed(chunk)
            packets.pubacks([it.packet_id or 0 for it in found])  # type: ignore[union-attr]  # all are PUBLISH

    return _timed(work) / (times * 400) * count


def _produce(bench: Bench, count: int, *, plain: bool = False) -> float:
    """`plain`: what any program pays that gives bytes to Kafka. Else a function is called for each record, as for the
    bridge, which does nothing here.
    """
    producer = kafka.producer(bench.servers.kafka)
    keys, value, head = [b"bench-%05d" % i for i in range(DEVICES)], os.urandom(50) * 2, [("p", os.urandom(60))]
    reported: list[object] = []

    def report(error: object, _: object) -> None:
        reported.append(error)

    def work() -> None:
        for i in range(count):
            if plain:
                producer.produce(TOPIC, value)
            else:
                producer.produce(TOPIC, value, keys[i % DEVICES], -1, report, None, 0, head)  # type: ignore[arg-type]
            if i % 300 == 0:
                producer.poll(0)
            while len(producer) > IN_FLIGHT:
                producer.poll(0.005)
        while producer.flush(1.0):
            pass

    return _timed(work)


def _consume(bench: Bench, count: int) -> float:
    return _read(bench, count, lambda _: None)


def _copy(bench: Bench, count: int) -> float:
    producer = kafka.producer(bench.servers.kafka, delivery_report_only_error=True)

    def again(messages: list[kafka.Message]) -> None:
        for it in messages:
            producer.produce(COPY, it.value(), it.key(), it.partition() or 0, None, None, 0, it.headers())
        producer.poll(0)

    took = _read(bench, count, again)
    return took + _timed(lambda: producer.flush(60.0))


def _read(bench: Bench, count: int, then: Callable[[list[kafka.Message]], None]) -> float:
    """The last `count` records of the topic, read and given to `then`."""
    client = kafka.consumer(bench.servers.kafka, "bench-limits")
    ends = [kafka.watermarks(client, TOPIC, n)[1] for n in range(3)]
    share = min(count // 3, *ends)
    client.assign([kafka.TopicPartition(TOPIC, n, end - share) for n, end in enumerate(ends)])
    until = time.monotonic() + 60

    def work() -> None:
        seen = 0
        while seen < share * 3 and time.monotonic() < until:
            found = client.consume(10_000, 0.1)
            then(found)
            seen += len(found)

    try:
        return _timed(work) / (share * 3) * count
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
