"""The archive alone on the real services: killed, its partitions taken away, strangers in its topic, offsets lost."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fastavro
import orjson
import pytest

from headrace import kafka
from headrace.config import Config, load
from headrace.contracts.files import find
from headrace.protocol.wire import ORIGIN, Position, Provenance, frame, pack_position
from headrace.schema_registry.client import Registry
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-2")]

ROWS, PARTITIONS = 30_000, 2
# The heir of a killed archive waits that long for its partitions.
QUICK = {**os.environ, "HEADRACE_KAFKA__LIBRDKAFKA": "{session.timeout.ms: 6000}"}


class Run:
    """A configuration of one's own on the session's servers, with a stream that only these tests use."""

    def __init__(self, stack: Stack, folder: Path, name: str) -> None:
        self.stream = name
        over = {
            "streams": {name: {"contract": "imu", "partitions": PARTITIONS}},
            "clean": {"group": f"{name}-clean"},
            "bridge": {},
            "archive": {"group": f"{name}-archive", "idle_seconds": 1, "max_age_seconds": 1, "max_records": 4000},
        }
        self.file = stack.config_file(folder / f"{name}.yaml", over)
        self.cfg: Config = load(self.file, {})
        with Registry(self.cfg.registry) as registry:
            self.schema_id = registry.register(f"{name}.clean-value", find("imu"))
        self._processes: list[subprocess.Popen[bytes]] = []
        topics = [kafka.TopicSpec(f"{name}.clean", PARTITIONS, 2_200_000, 3_600_000)]
        kafka.ensure_topics(self.cfg.kafka, topics)

    def emit(self, rows: int, strangers: int = 0) -> None:
        """What clean would write: rows of two days, each with its source; and messages that clean didn't write."""
        schema = fastavro.parse_schema(orjson.loads(find("imu").text))
        producer = kafka.producer(self.cfg.kafka)
        nothing = {f.name: None for f in find("imu").fields}
        for i in range(rows):
            out = io.BytesIO()
            reading = {**nothing, "device_id": "d-01", "event_time": 1_700_000_000_000_000 + i * 4_000_000, "ax": i / 7}
            reading |= dict.fromkeys(("ay", "az", "gx", "gy", "gz"), 0.5)
            fastavro.schemaless_writer(out, schema, reading)
            n = i // PARTITIONS
            position = pack_position(Position(0, n, 0), Position(0, n - 1, 0) if n else ORIGIN)
            headers = [Provenance(i.to_bytes(16), 1, position=position).header()]
            value = frame(self.schema_id, out.getvalue())
            producer.produce(
                f"{self.stream}.clean", value, key=b"d-01", partition=i % PARTITIONS, headers=list(headers)
            )
            producer.poll(0)
        for i in range(strangers):
            producer.produce(f"{self.stream}.clean", b"stranger %d" % i, partition=0)
        assert producer.flush(30) == 0

    def archive(self) -> "subprocess.Popen[bytes]":
        """The archive as a process of its own."""
        command = [sys.executable, "-m", "processors", "archive", "--config", str(self.file)]
        with self._log(len(self._processes)).open("wb") as log:
            self._processes.append(subprocess.Popen(command, cwd=ROOT, stderr=log, env=QUICK))
        return self._processes[-1]

    def _log(self, n: int) -> Path:
        return self.file.with_suffix(f".{n}.log")

    def said(self, process: "subprocess.Popen[bytes]") -> str:
        """What it has logged so far."""
        return self._log(self._processes.index(process)).read_text()

    def wait_until_said(self, process: "subprocess.Popen[bytes]", words: str) -> None:
        """Until it has logged that; fails when it ends before."""
        until = time.monotonic() + 60
        while words not in self.said(process):
            assert process.poll() is None, self.said(process)
            assert time.monotonic() < until, f"no {words} in: {self.said(process)}"
            time.sleep(0.01)

    def stop(self, process: "subprocess.Popen[bytes]") -> None:
        """SIGTERM, and the end with exit code 0 that must follow."""
        self.wait_until_said(process, '"reading"')
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, self.said(process)

    def close(self) -> None:
        """Leave no process behind, whatever a test has found."""
        for process in self._processes:
            process.kill()
            process.wait()

    def headrace(self, *args: str) -> "subprocess.CompletedProcess[str]":
        """The command line, on this configuration."""
        return subprocess.run(
            [sys.executable, "-m", "headrace", "--config", str(self.file), *args],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def when_stored(self) -> dict[str, int]:
        """verify's answer once all is stored."""
        done = self.headrace("verify", "--wait", "60", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, int] = orjson.loads(done.stdout)["streams"][self.stream]
        return found


@pytest.fixture
def run(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    it = Run(stack, tmp_path, request.node.name.removeprefix("test_")[:20])
    try:
        yield it
    finally:
        it.close()


def test_killed_time_and_again(run: Run) -> None:
    run.emit(ROWS)
    for stage in ('"reading"', '"stored"', '"stored"'):
        process = run.archive()
        run.wait_until_said(process, stage)
        time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    process = run.archive()
    report = run.when_stored()
    run.stop(process)
    assert (report["stored"], report["gaps"], report["duplicates"]) == (ROWS, 0, 0)


@pytest.mark.long
def test_two_members_and_one_leaves(run: Run) -> None:
    one, two = run.archive(), run.archive()
    run.emit(ROWS)
    run.stop(one)
    report = run.when_stored()
    run.stop(two)
    assert (report["stored"], report["gaps"], report["duplicates"]) == (ROWS, 0, 0)


def test_strangers_are_dead_letters(run: Run) -> None:
    run.emit(100, strangers=3)
    process = run.archive()
    report = run.when_stored()
    run.stop(process)
    assert (report["stored"], report["refused"], report["dead_letters"], report["gaps"]) == (100, 3, 3, 0)


@pytest.mark.long
def test_adopt_finds_the_place(run: Run) -> None:
    run.emit(500)
    process = run.archive()
    run.when_stored()
    run.stop(process)
    run.file.write_text(run.file.read_text().replace(f"{run.stream}-archive", f"{run.stream}-other"))
    refused = run.archive()
    assert refused.wait(60) == 2
    assert "headrace archive adopt" in run.said(refused)
    shown = run.headrace("archive", "adopt")
    assert "read on from 250" in shown.stdout, shown.stderr
    assert run.headrace("archive", "adopt", "--yes").returncode == 0
    process = run.archive()
    report = run.when_stored()
    run.stop(process)
    assert (report["stored"], report["gaps"], report["duplicates"]) == (500, 0, 0)
