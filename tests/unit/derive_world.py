"""What derive adds to the small world: a clean topic whose rows come twice, and functions that make rows of them."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import orjson
import pytest

from headrace.config import Config
from headrace.contracts.model import parse
from headrace.kafka import Message, columns, headers_of
from headrace.protocol.names import clean_topic, raw_topic
from headrace.protocol.wire import EVENT_ID_BYTES, ORIGIN, Headers, Position, Provenance, pack_position, provenance
from headrace.schema_registry.client import Registry
from headrace.transforms.code import Code
from headrace.transforms.derive import Derived
from headrace.transforms.run import Failure
from headrace.transforms.table import Columns
from processors.avro.codec import Codec
from processors.clean import service
from processors.clean.service import Cleaner
from processors.derive import deriver, versions
from processors.derive.deriver import Deriver, settings_of
from processors.group.relay import Settings, Step
from processors.group.token import Partition
from processors.positions import new_messages
from processors.provenance import marks
from tests.unit.clean_world import BASE, CLEAN, CODEC, LETTERS, SCHEMA_ID, Make, ToyStore, World, registry
from tests.unit.toy_kafka import offset

MADE = "made"
RAW, TARGET = raw_topic(MADE), clean_topic(MADE)
SOURCES: list[Partition] = [(CLEAN, 0), (CLEAN, 1)]
FIELDS: list[dict[str, Any]] = [
    {"name": "device_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}, "minimum": 1},
    {"name": "by", "type": "string"},
    {"name": "item", "type": "long"},
    {"name": "of", "type": "long"},
    {"name": "x", "type": "double"},
]
LAST = {"name": "_quality", "type": ["null", "string"], "default": None}
MORE = {"name": "more", "type": ["null", "double"], "default": None}
CONTRACTS = {  # of the derived stream, by schema id
    8: parse(MADE, json.dumps({"type": "record", "name": MADE, "fields": [*FIELDS, LAST]}), MADE),
    9: parse(MADE, json.dumps({"type": "record", "name": MADE, "fields": [*FIELDS, MORE, LAST]}), MADE),
}
CODECS = {number: Codec(it.schema) for number, it in CONTRACTS.items()}
BAD: dict[str, bytes | None] = {"junk": b"junk", "empty": None, "cut": CODEC.write(SCHEMA_ID, BASE)[:-3]}
BAD["unknown"] = b"\0\0\0\0\x63" + CODEC.write(SCHEMA_ID, BASE)[5:]  # its schema is not in the registry
Kind = int | str  # a reading with that x, or what can't be read


class Function(NamedTuple):
    """What a text of a function says: name, divisor and bound. It makes x % divisor rows, and fails above the bound."""

    by: str
    divisor: int
    most: int


def function(text: str) -> Function:
    by, divisor, most = text.split()
    return Function(by, int(divisor), int(most))


class ToyFunction:
    """Stands in for a transform that is loaded."""

    def __init__(self, code: Code) -> None:
        self.code = code


def _derive(it: ToyFunction, _given: object, wanted: Sequence[Any], columns: Columns, alive: Any) -> Derived:
    alive()
    by, divisor, most = function(it.code.text)
    out = Derived()
    more = {"more": 1.0} if any(f.name == "more" for f in wanted) else {}
    for i, x in enumerate(columns["x"]):
        about = {"device_id": columns["device_id"][i], "event_time": columns["event_time"][i]}
        n = int(x) % divisor
        if x > most:
            out.failures[i] = Failure("too large")
        elif n:
            out.rows[i] = [{**about, "by": by, "item": k, "of": n, "x": x, **more} for k in range(n)]
    return out


class DeriveWorld(World):
    """A World in which rows of the clean topic are written as clean writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.schemas |= {number: it.text for number, it in CONTRACTS.items()}
        self.newest: int | None = 8  # schema id of the newest contract of the derived stream
        self.readings: dict[tuple[Partition, int, int], Kind] = {}  # what lies at (partition, epoch, offset)
        self._emitted: dict[Partition, list[tuple[Position, Headers, Kind]]] = {}

    def put_under(self, patch: pytest.MonkeyPatch) -> None:
        """The real derive, with functions of the toy's kind."""
        patch.setattr(versions, "Transform", ToyFunction)
        patch.setattr(deriver, "derive", SimpleNamespace(derive=_derive, check=lambda *_: None))
        patch.setattr(deriver, "open_store", lambda _: ToyStore(self))
        patch.setattr(Registry, "latest_id", lambda *_: self.newest)

    def emit(self, partition: Partition, kinds: Sequence[tuple[Kind, int]]) -> None:
        """Clean rows, each with how many of the rows before are emitted again after it. `stranger`: without position;

        `gap`: an offset without a record.
        """
        rows = self._emitted.setdefault(partition, [])
        for kind, again in kinds:
            if kind == "gap":
                self.kafka.log(*partition).skip()
                continue
            headers: Headers = []
            if kind != "stranger":
                prev = rows[-1][0] if rows else ORIGIN
                src = Position(0, prev.offset + 1 + again, 0)
                event = (1 + len(rows)).to_bytes(EVENT_ID_BYTES) if len(rows) % 4 else None
                headers = [Provenance(event, position=pack_position(src, prev)).header()]
                rows.append((src, headers, kind))
            self._append(partition, kind, headers)
            for _, had, old in rows[len(rows) - again :] if again else []:
                self._append(partition, old, had)

    def _append(self, partition: Partition, kind: Kind, headers: Headers) -> None:
        log = self.kafka.log(*partition)
        x = 4 if kind == "stranger" else kind
        self.readings[partition, log.epoch, log.high] = x
        value = CODEC.write(SCHEMA_ID, BASE | {"x": float(x)}) if isinstance(x, int) else BAD[x]
        log.append(partition, value, b"d", headers)


class Row(NamedTuple):
    """A derived row, as a reader sees it."""

    src: Position
    by: str
    schema_id: int
    item: int
    of: int
    x: float
    event_id: bytes


def row_of(m: Message, src: Position) -> Row:
    data = m.value()
    assert isinstance(data, bytes)
    number = int.from_bytes(data[1:5])
    it = CODECS[number].read(data)
    assert "more" not in it or it["more"] == 1.0
    return Row(src, it["by"], number, it["item"], it["of"], it["x"], provenance(headers_of(m)).event_id or b"")


def taken(world: World, number: int) -> list[Row]:
    """What a reader of the derived raw partition takes, by the rule of positions; a hole is a FatalError."""
    records = world.kafka.log(RAW, number).records
    mask, _ = new_messages(marks(columns.headers(records)), None)
    return [row_of(m, world.source(m)) for m, new in zip(records, mask, strict=True) if new]


def given(world: World, partition: Partition) -> Iterator[Message]:
    """The readings that a reader of the clean partition takes: by an oracle, one by one."""
    last = ORIGIN
    for m in world.kafka.log(*partition).records:
        src = world.source(m)
        if src == ORIGIN or src > last:
            yield m
            last = max(last, src)


def check_whole(world: DeriveWorld, functions: dict[str, Function], *, chained: bool = True) -> None:
    """Each clean reading is its rows, a letter or nothing, as one of the functions has it; each row once, in order."""
    letters = Counter(letters_of(world))
    for partition in SOURCES:
        log, number = world.kafka.log(*partition), partition[1]
        rows = taken(world, number)
        assert [r.src for r in rows] == sorted({r.src for r in rows})
        assert not chained or world.chained((RAW, number))
        by_reading: dict[tuple[int, int], list[Row]] = {}
        for row in rows:
            by_reading.setdefault((row.src.epoch, row.src.offset), []).append(row)
        readings = list(given(world, partition))
        for m in readings:
            at = (m.leader_epoch() or 0, offset(m))
            found, letter = by_reading.pop(at, []), letters.pop((partition, *at), 0)
            x = world.readings[partition, *at]
            assert letter <= 1
            wanted = {it.by: _wanted(it, x) for it in functions.values()}
            if letter:
                assert not found, "rows and a letter"
                assert "letter" in wanted.values(), (partition, at, x)
            elif not found:
                assert 0 in wanted.values(), (partition, at, x)
            else:
                assert len({(r.by, r.schema_id) for r in found}) == 1, found
                assert [r.item for r in found] == [r.src.item for r in found] == list(range(found[0].of))
                assert wanted[found[0].by] == len(found)
                assert {r.x for r in found} == {x}
        assert not by_reading, "rows of what is no reading"
        ids = [r.event_id for r in rows]
        assert len(set(ids)) == len(ids)
        assert all(len(i) == EVENT_ID_BYTES for i in ids)
        if log.high:
            at_, note = world.note(partition)
            assert at_ == log.high == note.start + note.counts.total
            assert note.counts.repeated == len(log.records) - len(readings) or not chained
    assert not letters, "letters of what is no reading"


def _wanted(it: Function, x: Kind) -> int | str:
    """How many rows a function makes of a reading."""
    return "letter" if isinstance(x, str) or x > it.most else x % it.divisor


def letters_of(world: World) -> list[tuple[Partition, int, int]]:
    """(partition, epoch, offset) of each dead letter with a key of its own."""
    out = {}
    for m in world.kafka.log(LETTERS).records:
        about = dict(headers_of(m))
        assert (about["stage"], about["stream"]) == (b"derive", MADE.encode())
        it = orjson.loads(about["source"] or b"")
        out[m.key()] = ((it["topic"], it["partition"]), it["epoch"], it["offset"])
    return list(out.values())


def config_of(path: Path) -> Config:
    streams = {"toy": {}, MADE: {"from": "toy", "transform": path}}
    return Config.model_validate(
        {"streams": streams, "derive": {"batch": 5}, "clean": {"batch": 5, "lookback": 4, "streams": [MADE]}}
    )


def deriving(path: Path) -> Make:
    """The step of derive with the function in a file."""

    def make() -> tuple[Settings, Step[Any]]:
        config = config_of(path)
        return settings_of(config, MADE), Deriver(config, MADE, registry())

    return make


def cleaning_made(path: Path) -> Make:
    """The step of clean, which reads the derived stream."""
    return lambda: (service.settings_of(config_of(path)), Cleaner(config_of(path), registry()))
