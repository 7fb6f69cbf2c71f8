"""A letter of derive that is redriven becomes what the service derive makes of the reading, whatever its types."""

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.redrive.derived import Derived
from headrace.config import Config
from headrace.contracts.model import Contract, parse
from headrace.errors import PoisonError, Reason
from headrace.transforms.code import read
from headrace.transforms.derive import derive
from headrace.transforms.run import Transform
from headrace.transforms.table import fields_of
from processors.avro.codec import Codec
from processors.avro.physical import columns_of

T = {"type": "long", "logicalType": "timestamp-micros"}
MS = {"type": "long", "logicalType": "timestamp-millis"}
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}
TYPES: dict[str, Any] = {
    "money": MONEY, "at": T, "at_ms": MS, "some": "bytes", "two": {"type": "fixed", "name": "Two", "size": 2},
    "long": "long", "int": "int", "single": "float", "real": "double", "flag": "boolean", "text": "string",
    "part": {"type": "record", "name": "Part", "fields": [{"name": "q", "type": T}, {"name": "m", "type": MONEY}]},
    "longs": {"type": "array", "items": "long"}, "times": {"type": "array", "items": T},
    "texts": {"type": "array", "items": "string"},
}  # fmt: skip
UNCHANGEABLE = {"money", "part"}  # no transform makes these
FULL: dict[str, Any] = {
    "money": b"\x01\x02\x03", "at": 1_700_000_000_000_001, "at_ms": 1_700_000_000_001, "some": b"\xff\0", "two": b"ab",
    "long": 2**63 - 1, "int": -(2**31), "single": 0.5, "real": 1e300, "flag": True, "text": "å",
    "part": {"q": 1_700_000_000_000_003, "m": b"\x05"}, "longs": [2**62, 1], "times": [7], "texts": ["x"],
}  # fmt: skip
FUNCTION = """
def transform(df):
    out = df.drop(columns=["money", "part", "event_time"])
    for name in set(df.columns) - {"device_id", "event_time", "at", "at_ms"}:
        out["seen_" + name] = [f"{type(v)}: {v}" for v in df[name].tolist()]
    return out
"""
IDS = {"given": 7, "made": 9}


def contract(name: str, fields: list[dict[str, Any]]) -> Contract:
    first = [{"name": "device_id", "type": "string"}, {"name": "event_time", "type": T}]
    last = {"name": "_quality", "type": ["null", "string"], "default": None}
    return parse(name, json.dumps({"type": "record", "name": name, "fields": [*first, *fields, last]}))


def optional(name: str, kind: Any) -> dict[str, Any]:
    more = {"max_items": 9} if isinstance(kind, dict) and kind["type"] == "array" else {}
    return {"name": name, "type": ["null", kind], "default": None, **more}


GIVEN = contract("given", [optional(*it) for it in TYPES.items()])
MADE = contract(
    "made",
    [optional(name, kind) for name, kind in TYPES.items() if name not in UNCHANGEABLE]
    + [optional(f"seen_{name}", "string") for name in TYPES if name not in {"at", "at_ms"}],
)
CODEC, ROWS = Codec(GIVEN.schema), Codec(MADE.schema)


@pytest.fixture
def redriven(tmp_path: Path) -> Derived:
    file = tmp_path / "function.py"
    file.write_text(FUNCTION, encoding="utf-8")
    config = Config.model_validate({"streams": {"given": {}, "made": {"from": "given", "transform": str(file)}}})
    return Derived(config, {"given": GIVEN, "made": MADE}, IDS, lambda _: GIVEN.text)


def reading(**values: Any) -> bytes:
    empty = dict.fromkeys(TYPES)
    row = {"device_id": "dev", "event_time": 1_700_000_000_000_007, "_quality": "x:max:flag", **empty, **values}
    return CODEC.write(IDS["given"], row)


@pytest.mark.parametrize(
    "value",
    [reading(), reading(**FULL), reading(**FULL, event_time=-5), reading(event_time=10**18)],
    ids=["empty", "full", "before 1970", "beyond the calendar"],
)
def test_it_becomes_what_derive_makes(redriven: Derived, value: bytes) -> None:
    fields, wanted = fields_of(GIVEN), fields_of(MADE)
    transform = Transform(read(str(redriven._config.streams["made"].transform)))
    found = derive(transform, fields, wanted, columns_of(CODEC.decode([value]).frame, fields))
    made = [ROWS.write(IDS["made"], {"_quality": None, **row}) for rows in found.rows.values() for row in rows]
    if found.failures:
        with pytest.raises(PoisonError) as caught:
            redriven.rows("made", value)
        assert (caught.value.reason, found.failures[0].message in str(caught.value)) == (Reason.TRANSFORM, True)
    else:
        assert made
        assert redriven.rows("made", value) == [("dev", row) for row in made]


@pytest.mark.parametrize("value", [reading()[:-1], reading() + b"\0"])
def test_bytes_that_are_no_reading_are_refused(redriven: Derived, value: bytes) -> None:
    with pytest.raises(PoisonError) as caught:
        redriven.rows("made", value)
    assert caught.value.reason is Reason.MALFORMED
