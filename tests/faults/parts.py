"""The derived stream of the fault suite, and its oracle: what each stored reading must have become, in plain Python."""

import io
import json
import re
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow.parquet as pq

from headrace.config import Config
from headrace.kafka import headers_of
from headrace.lake import manifest
from headrace.protocol.names import clean_topic
from headrace.protocol.wire import header
from headrace.store.open import open_store
from tests.faults import evidence
from tests.faults.asking import answered
from tests.faults.readings import STREAM
from tests.faults.world import World

PARTS = "imu_parts"
_RAISES, _WRONG = (200, 25), (40, 7)  # of readings by their number: modulus, rest
_FUNCTION = """VERSION = {version}


def transform(df):
    number = df.sequence.astype("int64")
    if (number % 200 == 25).any():
        raise ValueError("a reading of which nothing can be made")
    out = df[["event_time", "sequence", "boot_id", "ax"]].copy()
    out["part"] = [list(range(n % 3)) for n in number]
    out = out.explode("part").dropna(subset="part")
    value = out.ax + out.part.astype("int64") + VERSION
    out["value"] = value.where(out.sequence.astype("int64") % 40 != 7)
    out["made_by"] = VERSION
    return out
"""
_CONTRACT = {
    "type": "record", "name": PARTS, "doc": "Parts of a reading, as many as its number says.",
    "fields": [
        {"name": "device_id", "type": "string", "doc": "Whose reading."},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}, "doc": "When it was taken.",
         "minimum": 946684800000000},
        {"name": "sequence", "type": "long", "doc": "Number of the reading."},
        {"name": "boot_id", "type": "string", "doc": "Of which run."},
        {"name": "part", "type": "int", "doc": "Which part of it."},
        {"name": "value", "type": "double", "unit": "m/s2", "doc": "What it comes to."},
        {"name": "made_by", "type": "int", "doc": "Version of the function."},
        {"name": "_quality", "type": ["null", "string"], "default": None, "doc": "What cleaning did."},
    ],
}  # fmt: skip


def placed(folder: Path) -> dict[str, Any]:
    """Contract and function, in a new folder; what the configuration must say of them, by section."""
    folder.mkdir()
    (folder / f"{PARTS}.avsc").write_text(json.dumps(_CONTRACT))
    function = folder / f"{PARTS}.py"
    function.write_text(_FUNCTION.format(version=1))
    return {"contracts": [str(folder)], "streams": {PARTS: {"from": STREAM, "transform": str(function)}}}


def renew(config: Config) -> None:
    """The next version of the function in place of that which is there."""
    path = config.streams[PARTS].transform
    assert path is not None
    found = re.match(r"VERSION = (\d+)\n", path.read_text())
    assert found is not None
    path.write_text(_FUNCTION.format(version=int(found[1]) + 1))


class Reading(NamedTuple):
    """A row of the source in the lake: what the function knows of it, and where in `.clean` it came from."""

    device: str
    boot: str
    sequence: int
    time: int
    ax: float
    place: tuple[int, int]  # partition, offset


class Part(NamedTuple):
    """A row of the derived stream in the lake."""

    device: str
    boot: str
    sequence: int
    time: int
    part: int
    value: float | None
    made_by: int
    quality: str | None
    source: tuple[int, int, int, int]  # partition, epoch, offset, index in `.raw`


@dataclass(frozen=True)
class Finding:
    """What the oracle found. Each list names readings or rows."""

    readings: int
    rows: int  # that are there
    letters: int  # that are there
    lost: list[str]  # rows and letters that must be there, and are not
    doubled: list[str]  # that are there more than once
    altered: list[str]  # rows with other values than the function gives them
    invented: list[str]  # rows and letters of a reading that has none
    mixed: list[str]  # readings whose rows were made by several versions

    @property
    def faults(self) -> list[str]:
        """In words, what is wrong: empty when all is right."""
        wrong = [(f.name, found) for f in fields(self) if isinstance(found := getattr(self, f.name), list)]
        return [f"derived: {len(found)} {name}: {', '.join(found[:5])}" for name, found in wrong if found]


def parts_of(sequence: int) -> int | None:
    """How many rows the function makes of a reading; None where it fails."""
    count = sequence % 3
    fails = sequence % _RAISES[0] == _RAISES[1] or (count and sequence % _WRONG[0] == _WRONG[1])
    return None if fails else count


def audit(readings: list[Reading], rows: list[Part], letters: list[tuple[int, int]]) -> Finding:
    """Compare the rows and the letters (by the place of their reading) with what must be made of the readings."""
    by_name = {(r.device, r.boot, r.sequence): r for r in readings}
    wanted = {(*name, part) for name in by_name for part in range(parts_of(name[2]) or 0)}
    refused = {r.place for r in readings if parts_of(r.sequence) is None}
    found = Counter((r.device, r.boot, r.sequence, r.part) for r in rows)
    told, sources = Counter(letters), Counter(r.source for r in rows)
    versions: dict[tuple[str, str, int], set[int]] = {}
    altered = []
    for row in rows:
        name = (row.device, row.boot, row.sequence)
        versions.setdefault(name, set()).add(row.made_by)
        if (reading := by_name.get(name)) is not None:
            right = (reading.time, reading.ax + row.part + row.made_by, None)
            if (row.time, row.value, row.quality) != right:
                altered.append(_name((*name, row.part)))
    return Finding(
        len(readings),
        len(rows),
        len(letters),
        lost=[*map(_name, sorted(wanted - found.keys())), *(f"letter {_name(p)}" for p in refused - told.keys())],
        doubled=[
            *(_name(row) for row, n in sorted(found.items()) if n > 1),
            *(f"letter {_name(p)}" for p, n in told.items() if n > 1),
            *(f"source {_name(s)}" for s, n in sources.items() if n > 1),
        ],
        altered=altered,
        invented=[*map(_name, sorted(found.keys() - wanted)), *(f"letter {_name(p)}" for p in told.keys() - refused)],
        mixed=[_name(name) for name, made_by in versions.items() if len(made_by) > 1],
    )


def _name(it: tuple[object, ...]) -> str:
    return "/".join(map(str, it))


def judge(world: World, versions: int = 1) -> list[str]:
    """What is wrong with the derived rows and letters of all runs on this stack, once all is stored.

    Notes figures in the world. At least so many `versions` of the function must have made rows of this run.
    """
    assert world.fleet is not None
    cfg, boot = world.config, world.fleet.boot
    names = ["device_id", "boot_id", "sequence", "event_time"]
    place = ["_partition", "_offset"]
    readings = [Reading._make([*row[:5], row[5:]]) for row in _lake(cfg, STREAM, [*names, "ax", *place])]
    of_this = {r.place for r in readings if r.boot == boot}
    known = {r.place for r in readings}
    source = ["_partition", "_src_epoch", "_src_offset", "_src_index"]
    rows = [
        Part._make([*row[:8], row[8:]])
        for row in _lake(cfg, PARTS, [*names, "part", "value", "made_by", "_quality", *source])
        if row[1] == boot
    ]
    # An earlier run's letter is of no concern; one of no reading at all is.
    letters = [it for it in answered(lambda: _letters(cfg)) if it in of_this or it not in known]
    found = audit([r for r in readings if r.boot == boot], rows, letters)
    made_by = {row.made_by for row in rows}
    world.figures |= {
        "derived_from": found.readings, "derived_rows": found.rows, "derived_letters": found.letters,
        "derived_lost": len(found.lost), "derived_doubled": len(found.doubled), "versions": len(made_by),
    }  # fmt: skip
    few = [f"derived: rows of {len(made_by)} versions, not {versions}: this proves nothing"]
    return found.faults + few * (len(made_by) < versions)


def _lake(cfg: Config, stream: str, columns: list[str]) -> list[tuple[Any, ...]]:
    """Columns of all rows that a stream has in the lake; times in microseconds."""
    store, topic = open_store(cfg.store), clean_topic(stream)
    out: list[tuple[Any, ...]] = []
    for file in manifest.visible(store, topic).files:
        table = pq.read_table(io.BytesIO(store.get(file.key)), columns=columns)
        whole = [c.cast("int64") if n == "event_time" else c for n, c in zip(columns, table.columns, strict=True)]
        out += zip(*(c.to_pylist() for c in whole), strict=True)
    return out


def _letters(cfg: Config) -> list[tuple[int, int]]:
    """(partition, offset) of the reading of each dead letter of the derived stream; each key once."""
    begin = dict.fromkeys(evidence.ends(cfg), 0)
    found: dict[bytes, tuple[int, int]] = {}
    for m in evidence.read(cfg, cfg.dead_letters.topic, begin):
        headers = headers_of(m)
        if header(headers, "stage") == b"derive":
            where = orjson.loads(header(headers, "source") or b"")
            found.setdefault(bytes(m.key() or b""), (where["partition"], where["offset"]))
    return list(found.values())
