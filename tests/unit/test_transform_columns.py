"""What a transform is given: the values as stored, whichever way the messages were read."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from headrace.contracts.files import find
from headrace.contracts.model import Field, parse
from headrace.operate.rows import columns_of as rows_of
from headrace.transforms.code import Code
from headrace.transforms.run import Transform
from headrace.transforms.sample import sample
from headrace.transforms.table import fields_of, table
from processors.avro.codec import Codec
from processors.avro.physical import columns_of
from processors.clean.schemas import known_of

MICROS, MILLIS = ({"type": "long", "logicalType": f"timestamp-{unit}"} for unit in ("micros", "millis"))
PRICE = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
FIELDS: list[dict[str, Any]] = [
    {"name": "device_id", "type": "string"},
    {"name": "event_time", "type": MICROS},
    {"name": "ax", "type": "double"},
    {"name": "mode", "type": {"type": "enum", "name": "Mode", "symbols": ["idle", "run"]}},
    {"name": "times", "type": ["null", {"type": "array", "items": MILLIS}], "default": None, "max_items": 9},
    {"name": "motor", "type": {"type": "record", "name": "Motor", "fields": [{"name": "at", "type": MICROS}]}},
]
LAST = {"name": "_quality", "type": ["null", "string"], "default": None}
ROW: dict[str, Any] = {
    "device_id": "d", "event_time": 5, "ax": 1.5, "mode": "run", "times": [3, 4], "motor": {"at": 9}, "_quality": None,
}  # fmt: skip
PLUS = Transform(Code("def transform(df):\n    df['ax'] += 1\n    return df\n", "plus.py"))


def contract(*more: dict[str, Any]) -> Any:
    return parse("toy", json.dumps({"type": "record", "name": "toy", "fields": [*FIELDS, *more, LAST]}))


def plain(frame: pl.DataFrame, fields: list[Field]) -> dict[str, list[Any]]:
    """The columns, lists of numbers as lists."""
    found: dict[str, list[Any]] = columns_of(frame, fields)
    return {name: [v.tolist() if isinstance(v, np.ndarray) else v for v in values] for name, values in found.items()}


def test_lists_of_numbers_are_arrays_that_share_the_columns_memory_and_can_not_be_changed() -> None:
    frame = pl.DataFrame({"samples": [[1.0, 2.0], [], None]}, schema={"samples": pl.List(pl.Float32)})
    field = next(f for f in fields_of(find("vibration")) if f.name == "samples")
    waveform, empty, nothing = columns_of(frame, [field])["samples"]
    assert isinstance(waveform, np.ndarray)
    assert (waveform.tolist(), waveform.dtype, waveform.flags.writeable) == ([1.0, 2.0], np.dtype("float32"), False)
    assert isinstance(empty, np.ndarray)
    assert (empty.tolist(), nothing) == ([], None)
    assert table([field], {"samples": [waveform]}).samples[0] is waveform


def test_times_in_lists_and_records_are_numbers_however_the_messages_were_read() -> None:
    known = known_of(7, contract().text)
    values = [known.codec.write(7, ROW), known.codec.write(7, ROW | {"times": None})]
    located = known.codec.locate(values, {"ax"})
    assert located is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Codec, "_columns", lambda *_: None)
        alone = plain(known.codec.decode(values).frame, known.fields)
    together = plain(known.codec.decode(values).frame, known.fields)
    assert alone == together == plain(located.frame, known.fields)
    assert (together["times"], together["motor"], together["mode"]) == ([[3, 4], None], [{"at": 9}] * 2, ["run"] * 2)
    assert PLUS.run(known.fields, together).changes == {0: {"ax": 2.5}, 1: {"ax": 2.5}}
    later = Transform(
        Code("def transform(df):\n    df['times'] = df.times.map(lambda it: it + 1)\n    return df\n", "t.py")
    )
    assert later.run(known.fields, {name: found[:1] for name, found in together.items()}).changes == {
        0: {"times": [4, 5]}
    }


def test_for_polars_times_in_lists_and_records_are_times_and_decimals_decimals() -> None:
    known = known_of(7, contract({"name": "price", "type": PRICE}).text)
    found = known.codec.decode([known.codec.write(7, ROW | {"price": b"\x05"})]).frame
    text = (
        "import polars as pl\n"
        "def transform(df: pl.DataFrame) -> pl.DataFrame:\n"
        "    later = pl.element() + pl.duration(milliseconds=1)\n"
        "    at = pl.col('motor').struct.field('at').dt.epoch('us')\n"
        "    return df.with_columns(pl.col('times').list.eval(later), ax=at + pl.col('price').cast(pl.Float64))\n"
    )
    made = Transform(Code(text, "t.py")).run(known.fields, columns_of(found, known.fields))
    assert (made.failures, made.changes) == ({}, {0: {"ax": 9.05, "times": [4, 5]}})


def test_a_decimal_is_its_value_and_not_its_digits() -> None:
    toy = contract({"name": "price", "type": PRICE})
    known = known_of(7, toy.text)
    columns = columns_of(known.codec.decode([known.codec.write(7, ROW | {"price": b"\x05"})]).frame, known.fields)
    assert columns["price"] == [Decimal("0.05")]
    dear = Transform(Code("def transform(df):\n    df['ax'] = df.price.astype(float) * 10\n    return df\n", "t.py"))
    assert dear.run(known.fields, columns).changes == {0: {"ax": 0.5}}
    assert all(isinstance(v, Decimal) for v in sample(toy, 20)["price"])


def test_rows_of_the_lake_are_tried_as_clean_gives_them() -> None:
    epoch, tick = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
    row = ROW | {
        "event_time": epoch + 5 * tick, "times": [epoch + 3000 * tick, epoch + 4000 * tick],
        "motor": {"at": epoch + 9 * tick},
    }  # fmt: skip
    columns = rows_of(contract(), [row], "nothing")
    assert columns == {name: [ROW[name]] for name in ROW if name != "_quality"}
    assert PLUS.run(fields_of(contract()), columns).changes == {0: {"ax": 2.5}}
