"""A file to upload, the command that does, and the oracle: what each of its rows must have become, in plain Python."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow.parquet as pq
import yaml
from confluent_kafka import TopicPartition

from headrace import kafka
from headrace.config import Config
from headrace.kafka import headers_of
from headrace.kafka.ends import log_ends
from headrace.lake import manifest
from headrace.protocol.names import FILES, UPLOADS, clean_topic, raw_topic
from headrace.protocol.wire import header
from headrace.stack.process import MARK
from headrace.store.open import open_store
from tests.faults import evidence
from tests.faults.asking import answered
from tests.faults.readings import STREAM
from tests.faults.world import ROOT, World

OF_FILES = STREAM + FILES
_AXES = ("ax", "ay", "az", "gx", "gy", "gz")
_PROFILE = {
    "stream": STREAM,
    "match": "*sample-*.csv",
    "device_pattern": "sample-(?P<device>[A-Za-z0-9_-]+)",
    "time": {"columns": ["t"], "form": "us"},
    "fields": {axis: {"column": axis} for axis in _AXES},
}
_ROWS = (150_000, 300_000)
_UPLOAD_SECONDS = 300.0


class Row(NamedTuple):
    """A row of the lake: its number in the file, its time, its six values."""

    number: int
    time: int
    values: tuple[float, ...]


@dataclass
class Sample:
    """A file, with some rows that can't be readings and some that are blank."""

    path: Path
    profile: Path
    device: str
    rows: dict[int, Row]  # the good ones, by number
    bad: set[int]
    before: dict[tuple[str, int], int]  # where the logs ended
    halves: int = 0  # uploads of a part of the file, each of which is a file of its own

    def wait_loading(self, world: World) -> None:
        """Until rows of it are sent."""
        world.wait("rows of the file", lambda: self._grown(world, raw_topic(OF_FILES)), 120)

    def wait_ordered(self, world: World) -> None:
        """Until its order is in the topic that derive reads."""
        world.wait("the order", lambda: self._grown(world, clean_topic(UPLOADS)), 120)

    def _grown(self, world: World, topic: str) -> bool:
        now = answered(lambda: _ends(world.config))
        return any(end > self.before[p] for p, end in now.items() if p[0] == topic)


def made(world: World) -> Sample:
    """A file by the dice of a run."""
    dice: Random = world.dice
    folder = world.state.path / "tmp"
    device = f"file-{time.time_ns() // 1_000_000:x}"
    count = dice.randint(*_ROWS)
    begin = 1_600_000_000_000_000 + dice.randrange(10**14)
    rows, bad, lines = dict[int, Row](), set[int](), ["t," + ",".join(_AXES)]
    for number in range(count):
        when = begin + number * 10_000
        values = tuple(round((number * (k + 1) % 9973) / 1000, 3) for k in range(6))
        if number % 997 == 400:
            bad.add(number)
            lines.append(f"{when},broken" + ",1" * 5)
        elif number % 1009 == 500:
            lines.append("")
        else:
            rows[number] = Row(number, when, values)
            lines.append(f"{when}," + ",".join(map(str, values)))
    path = folder / f"sample-{device}.csv"
    path.write_text("\n".join(lines) + "\n")
    profile = folder / "sample.yaml"
    profile.write_text(yaml.safe_dump(_PROFILE))
    return Sample(path, profile, device, rows, bad, _ends(world.config))


class Uploader:
    """`headrace upload` in a process of its own."""

    def __init__(self, world: World, path: Path) -> None:
        self._world = world
        self._log = (path.parent / f"upload-{time.time_ns():x}.log").open("w+b")
        command = [sys.executable, "-P", "-m", "headrace", "--state", str(world.state.path), "upload", str(path)]
        self._process = subprocess.Popen(
            [*command, "--profile", str(path.parent / "sample.yaml"), "--yes", "--json", "--patience", "60"],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), MARK: str(world.state.path)},
            stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        """Signal it, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code."""
        try:
            return self._process.wait(_UPLOAD_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"the upload has not ended after {_UPLOAD_SECONDS:.0f} s: {self.said()}") from None

    def said(self) -> str:
        """What it printed."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, it: BaseException | None, at: TracebackType | None) -> None:
        if self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
        self._log.close()


def judge(world: World, it: Sample) -> list[str]:
    """What is wrong with the rows and letters of the file, once all is stored. Notes figures in the world."""
    cfg = world.config
    stored = _stored(cfg, it.device)
    whole = _whole(cfg, it)
    mine = [row for upload, row in stored if upload in whole]
    numbers = Counter(row.number for row in mine)
    letters = Counter(answered(lambda: _letters(cfg, whole)))
    wrong = {
        "lost": [f"row {n}" for n in it.rows.keys() - numbers.keys()]
        + [f"letter {n}" for n in it.bad - letters.keys()],
        "doubled": [f"row {n}" for n, k in numbers.items() if k > 1]
        + [f"letter {n}" for n, k in letters.items() if k > 1],
        "altered": [f"row {row.number}" for row in mine if it.rows.get(row.number, row) != row],
        "invented": [f"row {n}" for n in numbers.keys() - it.rows.keys()]
        + [f"letter {n}" for n in letters.keys() - it.bad],
    }
    world.figures |= {
        "file_rows": len(it.rows), "file_stored": len(mine), "file_letters": len(letters),
        "file_lost": len(wrong["lost"]), "file_doubled": len(wrong["doubled"]),
    }  # fmt: skip
    out = [f"files: {len(found)} {name}: {', '.join(found[:5])}" for name, found in wrong.items() if found]
    if len(whole) != 1:
        out.append(f"files: {len(whole)} uploads of one content")
    return out


def _whole(cfg: Config, it: Sample) -> set[str]:
    """The uploads of the whole file: by its content, not by a part of it that was there at some time."""
    import hashlib

    digest = hashlib.sha256(it.path.read_bytes()).hexdigest()
    store = open_store(cfg.store)
    orders = [json.loads(store.get(o.key)) for o in store.list("_uploads/orders/")]
    return {o["upload"] for o in orders if o["recording"] == digest}


def _stored(cfg: Config, device: str) -> list[tuple[str, Row]]:
    """(upload, row) of all rows of a device in the lake."""
    store, out = open_store(cfg.store), list[tuple[str, Row]]()
    for file in manifest.visible(store, clean_topic(OF_FILES)).files:
        names = ["device_id", "_event_id", "event_time", *_AXES]
        table = pq.read_table(io.BytesIO(store.get(file.key)), columns=names)
        columns: list[list[Any]] = [
            (c.cast("int64") if n == "event_time" else c).to_pylist() for n, c in zip(names, table.columns, strict=True)
        ]
        for who, event, when, *values in zip(*columns, strict=True):
            if who == device:
                out.append((event[:8].hex(), Row(int.from_bytes(event[12:]), when, tuple(values))))
    return out


def _letters(cfg: Config, uploads: set[str]) -> list[int]:
    """The row of each dead letter of uploads; each key once."""
    begin = dict.fromkeys(evidence.ends(cfg), 0)
    found: dict[bytes, int] = {}
    for m in evidence.read(cfg, cfg.dead_letters.topic, begin):
        headers = headers_of(m)
        row, event = header(headers, "row"), header(headers, "event-id")
        if row is not None and event is not None and event[:8].hex() in uploads:
            found.setdefault(bytes(m.key() or b""), int(row))
    return list(found.values())


def _ends(cfg: Config) -> dict[tuple[str, int], int]:
    topics = [raw_topic(OF_FILES), clean_topic(UPLOADS)]
    info = kafka.describe(cfg.kafka, topics)
    found = log_ends(cfg.kafka, [(t, p) for t in topics for p in range(info[t].partitions)])
    return {p: end for p, (_, end) in found.items()}


def delete_orders(world: World) -> None:
    """Delete every order from the topic that derive reads, as retention does."""
    cfg = world.config
    ends = {p: end for p, end in _ends(cfg).items() if p[0] == clean_topic(UPLOADS)}
    admin = kafka.admin(cfg.kafka)
    for future in admin.delete_records([TopicPartition(*p, end) for p, end in ends.items()]).values():
        future.result(30)


def forget_offsets(world: World) -> None:
    """Delete the offsets of derive's group, as its error says, once none of its members is there."""
    cfg = world.config
    group, partitions = cfg.group_of(OF_FILES), [TopicPartition(*p) for p in _ends(cfg) if p[0] == clean_topic(UPLOADS)]
    admin = kafka.admin(cfg.kafka)

    def done() -> bool:
        pid = world.service("derive")["pid"]
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            for future in admin.delete_consumer_groups([group]).values():
                future.result(10)
        except kafka.KafkaException:
            return False
        return bool(partitions)

    with world.unsupervised():
        world.wait("the group's offsets to be deleted", done, 60)
