"""What files add to the small world: orders of uploads in `uploads.clean`, and the files in the store."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from headrace.config import Config
from headrace.contracts import columnar, files
from headrace.contracts.avro import read_record
from headrace.errors import ConfigError
from headrace.kafka import columns, headers_of
from headrace.protocol.names import UPLOADS, clean_topic, raw_topic
from headrace.protocol.wire import (
    EVENT_ID_BYTES,
    ORIGIN,
    Headers,
    Position,
    Provenance,
    frame,
    pack_position,
    provenance,
)
from headrace.readers.base import Batch, Column, Table
from headrace.readers.source import Source
from headrace.schema_registry.client import Registry
from headrace.store.base import ObjectInfo
from headrace.uploads.desk import Desk
from headrace.uploads.order import Order, row_id, upload_id
from headrace.uploads.profile import Profile
from processors.derive import loader
from processors.derive.loader import Loader, settings_of
from processors.group.relay import Settings, Step
from processors.group.token import Partition
from processors.positions import new_messages
from processors.provenance import marks
from tests.unit.clean_world import LETTERS, SCHEMA_ID, ToyStore, World, registry

STREAM = "toy_files"
ORDERS, RAW = clean_topic(UPLOADS), raw_topic(STREAM)
SOURCES: list[Partition] = [(ORDERS, 0), (ORDERS, 1)]
CONFIG = Config.model_validate({"streams": {"toy": {"files": True}}})
ORDER_ID = 20  # schema id
CONTRACT = files.find(UPLOADS)
NODE = read_record(CONTRACT.schema)
PROFILE = Profile.model_validate(
    {
        "stream": "toy",
        "format": "csv",
        "device": "d",
        "time": {"columns": ["t"], "form": "us"},
        "fields": {"x": {"column": "x"}},
    }
)
# By name: the rows of a file, each good (g) or refused (b); a file that breaks off ends with !.
FILES = {
    "five": "ggggg",
    "none": "",
    "mixed": "gbggbgg",
    "bad": "bbb",
    "long": "g" * 11,
    "breaks": "gbg!",
    "end": "gggb",
}
KINDS = [*FILES, "missing", "foreign", "junk", "gap"]


class LoadStore(ToyStore):
    """With listings."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for key in sorted(self._world.store):
            if key.startswith(prefix):
                yield ObjectInfo(key, 0, "")


class TwoRows:
    """Reads a file of a row a line, two rows at a time."""

    tables = (Table("", (Column("t"), Column("x"))),)

    def __init__(self, source: Source) -> None:
        self.dialect: dict[str, str] = {}
        self._rows = source.at.read_text()

    def batches(self, _: int = 0) -> Iterator[Batch]:
        rows = self._rows.removesuffix("!")
        for i in range(0, len(rows), 2):
            part = rows[i : i + 2]
            times = pa.array(
                [str(1_700_000_000_000_000 + i + k) if kind == "g" else "?" for k, kind in enumerate(part)]
            )
            cells = pa.record_batch([times, pa.array(["1.5"] * len(part))], names=["0", "1"])
            yield Batch(pa.array(range(i, i + len(part)), pa.int64()), cells, (), 0)
        if self._rows.endswith("!"):
            raise ConfigError("it breaks off here")

    def close(self) -> None:
        """Nothing is open."""


class Here:
    """In the place of Apart."""

    def open_file(self, source: Source, _options: Mapping[str, str], _name: str = "") -> TwoRows:
        return TwoRows(source)

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


class Room:
    """In the place of Ahead: there is always room."""

    def __init__(self, *_: object) -> None:
        """It asks nobody."""

    def room(self, _: int) -> bool:
        return True


class LoadWorld(World):
    """A World with orders."""

    def __init__(self) -> None:
        super().__init__()
        self.topic_id = "4StEs6G/QsalNoqeyEo7YQ"  # with a character that keys have not
        self.schemas[ORDER_ID] = CONTRACT.text
        self.orders: dict[tuple[Partition, int], str] = {}  # what is ordered at (partition, offset)
        self._emitted: dict[Partition, list[tuple[Position, Headers, str]]] = {}
        desk = Desk(LoadStore(self))  # type: ignore[arg-type]  # as far as it is needed
        desk.keep_profile(PROFILE)
        for name, rows in FILES.items():
            chunk = hashlib.sha256(rows.encode()).hexdigest()
            self.store[f"_uploads/chunks/{chunk}"] = rows.encode()
            about = {"size": 1, "raw": "", "raw_size": 1, "name": name, "chunks": [chunk], "shipped_at": 0}
            self.store[f"_uploads/recordings/{recording(name)}.json"] = orjson.dumps(
                {"recording": recording(name), **about}
            )

    def put_under(self, patch: pytest.MonkeyPatch) -> None:
        """The real step, which reads files two rows at a time, and makes four in a turn."""
        patch.setattr(loader, "open_store", lambda _: LoadStore(self))
        patch.setattr(loader, "Apart", Here)
        patch.setattr(loader, "_ROWS", 4)
        patch.setattr(loader, "Ahead", Room)
        patch.setattr(Registry, "latest_id", lambda *_: ORDER_ID)

    def emit(self, partition: Partition, kinds: Sequence[tuple[str, int]]) -> None:
        """Orders, each with how many of those before are emitted again after it, as clean does after a crash."""
        rows = self._emitted.setdefault(partition, [])
        for kind, again in kinds:
            if kind == "gap":
                self.kafka.log(*partition).skip()
                continue
            prev = rows[-1][0] if rows else ORIGIN
            src = Position(0, prev.offset + 1 + again, 0)
            event = bytes.fromhex(upload(kind)) + len(rows).to_bytes(8)
            rows.append((src, [Provenance(event, position=pack_position(src, prev)).header()], kind))
            for _, had, old in [rows[-1], *(rows[len(rows) - again :] if again else [])]:
                self._append(partition, old, had)

    def _append(self, partition: Partition, kind: str, headers: Headers) -> None:
        log = self.kafka.log(*partition)
        self.orders[partition, log.high] = kind
        value = b"junk"
        if kind != "junk":
            columns_ = {name: pa.array([v]) for name, v in order(kind)._asdict().items()}
            value = frame(ORDER_ID, columnar.encode(NODE, columns_, 1).data)
        log.append(partition, value, b"d", headers)


def recording(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def upload(name: str) -> str:
    return upload_id(recording(name), 0, PROFILE.digest, STREAM)


def order(name: str) -> Order:
    rows = FILES.get(name, "")
    stream = "other_files" if name == "foreign" else STREAM
    numbers = {"readings": rows.count("g"), "refused": rows.count("b"), "left_out": 0, "devices": 1, "bytes": 1}
    return Order(
        "d", 1_700_000_000_000_000, upload(name), recording(name), 0, name, stream, PROFILE.digest, SCHEMA_ID,
        **numbers, actor="somebody",
    )  # fmt: skip


def loading() -> tuple[Settings, Step[Any]]:
    """The step of a stream of files."""
    return settings_of(CONFIG, STREAM), Loader(CONFIG, STREAM, registry())


def taken(world: World, number: int) -> list[tuple[Position, bytes]]:
    """Position and event id of the rows that clean takes of a raw partition, by position; a hole is a FatalError."""
    records = world.kafka.log(RAW, number).records
    mask, _ = new_messages(marks(columns.headers(records)), None)
    rows = [m for m, new in zip(records, mask, strict=True) if new]
    return [(world.source(m), provenance(headers_of(m)).event_id or b"") for m in rows]


def check_whole(world: LoadWorld) -> None:
    """Each row of each file that was ordered is there once, or is a letter; in the file's order, whatever died."""
    letters = letters_of(world)
    for partition in SOURCES:
        number = partition[1]
        rows = taken(world, number)
        assert [src for src, _ in rows] == sorted({src for src, _ in rows})
        assert world.chained((RAW, number))
        world.values((RAW, number))
        ids = [event for _, event in rows]
        assert len(ids) == len(set(ids)), "a row is there twice"
        wanted: list[bytes] = []
        ordered = list(dict.fromkeys(kind for (p, _), kind in world.orders.items() if p == partition))
        for kind in ordered:
            own = bytes.fromhex(upload(kind))
            good = [i for i, it in enumerate(FILES.get(kind, "")) if it == "g"]
            assert [e for e in ids if e[:8] == own] == [row_id(own, i) for i in good], kind
            wanted += [row_id(own, i) for i in good]
        assert sorted(ids) == sorted(wanted)
        if world.kafka.log(*partition).high:
            at, note = world.note(partition)
            assert at == world.kafka.log(*partition).high == note.start + note.counts.total
        loaded = Desk(LoadStore(world)).loaded()  # type: ignore[arg-type]  # as far as it is needed
        for kind in ordered:
            assert (upload(kind) in loaded) == (kind in FILES and kind != "breaks"), kind
            bad = {i for i, it in enumerate(FILES.get(kind, "")) if it == "b"}
            assert {row for name, p, row in letters if (name, p) == (kind, number) and row >= 0} == bad, kind
            whole = {row for name, p, row in letters if (name, p) == (kind, number) and row < 0}
            assert bool(whole) == (kind in {"missing", "junk", "breaks"}), kind


def letters_of(world: LoadWorld) -> set[tuple[str, int, int]]:
    """(file, partition, row) of each dead letter; row -1 for that of an order."""
    out = set()
    for m in world.kafka.log(LETTERS).records:
        about = dict(headers_of(m))
        assert (about["stage"], about["stream"]) == (b"derive", STREAM.encode())
        it = orjson.loads(about["source"] or b"")
        kind = world.orders[(it["topic"], it["partition"]), it["offset"]]
        row = about.get("row")
        out.add((kind, it["partition"], int(row) if row is not None else -1))
        assert row is None or len(about["event-id"] or b"") == EVENT_ID_BYTES
    return out


def temporary(folder: Path) -> list[Path]:
    """Files that a process has left."""
    return list(folder.glob("headrace-upload-*"))
