"""A processor as a process of its own, beside the session's stack; what it reads, and what it leaves in Kafka."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headrace import kafka
from headrace.config import Config
from headrace.kafka.partition import read, reader
from headrace.protocol.wire import Headers
from tests.stack import ROOT

Row = tuple[bytes, Headers]  # value and headers of a record


@contextmanager
def running(service: str, path: Path, log: Path = Path(os.devnull)) -> Iterator["subprocess.Popen[bytes]"]:
    """A service with the configuration at `path`, killed at the end whatever happened. `log`: where its lines go."""
    environ = {**os.environ, "HEADRACE_KAFKA__LIBRDKAFKA": "{session.timeout.ms: 6000}"}
    args = [sys.executable, "-m", "processors", service, "--config", str(path)]
    with log.open("wb") as err:
        it = subprocess.Popen(args, cwd=ROOT, env=environ, stderr=err)
    try:
        yield it
    finally:
        it.kill()
        it.wait()


def produce(config: Config, topic: str, partitions: int, rows: Iterable[Row]) -> None:
    """Write a record for each row, in turn to each partition."""
    producer = kafka.producer(config.kafka)
    for i, (value, headers) in enumerate(rows):
        producer.produce(topic, value, b"d", i % partitions, headers=headers)  # type: ignore[arg-type]  # a list is invariant
        if i % 1000 == 0:
            producer.poll(0)
    assert producer.flush(30) == 0


def wait_for(client: kafka.Consumer, places: Sequence[tuple[str, int]], least: int) -> None:
    """Return once the group of `client` has committed `least` offsets in all."""
    until = time.monotonic() + 300
    while sum(offset or 0 for offset, _ in kafka.committed(client, list(places)).values()) < least:
        assert time.monotonic() < until, "clean made no progress"
        time.sleep(0.05)


def records(config: Config, topic: str, number: int) -> list[kafka.Message]:
    """Everything that a partition holds."""
    client = reader(config.kafka)
    try:
        return list(read(client, topic, number))
    finally:
        client.close()
