"""Cells of a file as values of a field: numbers exactly, in the ways people write them; what is none is said."""

import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts import model
from headrace.contracts.model import Field
from headrace.errors import ConfigError
from headrace.uploads.cells import Written, read


def field(kind: Any, **attributes: Any) -> Field:
    fields = [
        {"name": "device_id", "type": "string"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "x", "type": kind, **attributes},
        {"name": "_quality", "type": ["null", "string"], "default": None},
    ]
    return model.parse("r", json.dumps({"type": "record", "name": "r", "fields": fields})).field("x")


DOUBLE, LONG = field("double"), field("long")


def values(cells: list[Any], f: Field, written: Written = Written(), kind: Any = None) -> list[Any]:  # noqa: B008
    """The value of each cell; "wrong" where it is none, None where the cell is empty."""
    found = read(pa.array(cells, kind or pa.string()), f, written)
    return ["wrong" if bad else v for v, bad in zip(found.values.to_pylist(), found.wrong.tolist(), strict=True)]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_each_double_comes_back_from_its_text(numbers: list[float]) -> None:
    assert values([repr(x) for x in numbers], DOUBLE) == numbers


@given(st.lists(st.integers(-(2**64), 2**64), max_size=20))
def test_whole_numbers_of_64_bits_and_no_more(numbers: list[int]) -> None:
    right = [n if -(2**63) <= n < 2**63 else "wrong" for n in numbers]
    assert values([str(n) for n in numbers], LONG) == right


@pytest.mark.parametrize(
    ("cells", "written", "right"),
    [
        ([".5", "+1", "007", "1.", "1e3", "-2E-1"], Written(), [0.5, 1, 7, 1, 1000, -0.2]),
        (
            ["5,1", "-0,5", "1e3", "5.1", "1,2,3", ","],
            Written(decimal=","),
            [5.1, -0.5, 1000, "wrong", "wrong", "wrong"],
        ),
        (
            ["1.234,5", "12.345", "1.23", "1.2345,0"],
            Written(decimal=",", thousands="."),
            [1234.5, 12345, "wrong", "wrong"],
        ),
        (["1,234.5", "1,234,567", "1,23"], Written(thousands=","), [1234.5, 1234567, "wrong"]),
        (["1'000", "1 000"], Written(thousands="'"), [1000, "wrong"]),
        (["NA", "", "-", "x", "1e999", "1_0", "0x1", "٣"], Written(), [None, None, None, *["wrong"] * 5]),
        (["-999", "5"], Written(nothing=frozenset({"-999"})), [None, 5]),
    ],
)
def test_numbers_as_people_write_them(cells: list[str], written: Written, right: list[Any]) -> None:
    assert values(cells, DOUBLE, written) == right


def test_whole_numbers_may_have_a_point_and_zeros() -> None:
    assert values(["5.0", "5.", "5.5", "1e3", "+7"], LONG) == [5, 5, "wrong", "wrong", 7]
    assert values(["2147483647", "2147483648"], field("int")) == [2147483647, "wrong"]


def test_units_are_converted_to_the_field_s() -> None:
    g = field(["null", "double"], default=None, unit="m/s2")
    assert values(["1", "NA", "x"], g, Written(unit="g")) == [9.80665, None, "wrong"]
    with pytest.raises(ConfigError, match="x: 'furlong' can't be converted to m/s2"):
        values(["1"], g, Written(unit="furlong"))


def test_other_kinds() -> None:
    assert values(["true", "0", "Yes", "maybe", ""], field("boolean")) == [True, False, True, "wrong", None]
    enum = field({"type": "enum", "name": "E", "symbols": ["ON", "OFF"]})
    assert values(["ON", "on", ""], enum) == ["ON", "wrong", "wrong"]
    assert values(["NA", "a b", None], field(["null", "string"], default=None)) == ["NA", "a b", None]


def test_columns_that_have_types_already() -> None:
    optional = field(["null", "double"], default=None)
    assert values([1.5, math.nan, None, math.inf], optional, kind=pa.float64()) == [1.5, None, None, None]
    assert values([1.5, math.nan], DOUBLE, kind=pa.float64()) == [1.5, "wrong"]
    assert values([1, 2**40], field("int"), kind=pa.int64()) == [1, "wrong"]
    assert values([1, 2], DOUBLE, kind=pa.int16()) == [1, 2]
    samples = field({"type": "array", "items": "float"}, max_items=10)
    assert values([[1.0, 2.0], []], samples, kind=pa.list_(pa.float64())) == [[1.0, 2.0], []]


def test_sentinels_are_found_before_a_conversion_changes_them() -> None:
    t = field(["null", "double"], default=None, unit="Cel")
    written = Written(unit="[degF]", sentinels=("ERR", -999.0))
    found = read(pa.array(["212", "-999", "-999.0", "ERR", "err"]), t, written)
    assert found.values.to_pylist() == [100.0, None, None, None, None]
    assert (found.sentinel.tolist(), found.wrong.tolist()) == ([False, True, True, True, False], [False] * 4 + [True])
    found = read(pa.array([212.0, -999.0]), t, written)
    assert (found.values.to_pylist(), found.sentinel.tolist()) == ([100.0, None], [False, True])
