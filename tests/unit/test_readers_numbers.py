"""Numbers of text: exact, by the marks of the file, and what is none is said for each cell."""

from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.readers.textmarks import marks_of, numbers


def values(cells: Sequence[str | None], **marks: str) -> tuple[str, list[object], list[bool]]:
    found = numbers(pa.array(cells, pa.string()), **marks)
    return str(found.values.type), found.values.to_pylist(), found.wrong.to_pylist()


@pytest.mark.parametrize(
    ("cells", "marks", "kind", "right", "wrong"),
    [
        (["1", "-2", None, "+3"], {}, "int64", [1, -2, None, 3], []),
        (["1.5", "2", ".5", "5.", "1e5", "-1E-2"], {}, "double", [1.5, 2.0, 0.5, 5.0, 1e5, -0.01], []),
        (
            ["1.5", "x", "nan", "inf", "0x10", "1_0", "1,5", "", "٣"],
            {},
            "double",
            [1.5, *[None] * 8],
            [1, 2, 3, 4, 5, 6, 7, 8],
        ),
        (["9007199254740993"], {}, "int64", [9007199254740993], []),
        (["9223372036854775808", "1"], {}, "string", ["9223372036854775808", "1"], []),
        (["9007199254740993", "0.5"], {}, "string", ["9007199254740993", "0.5"], []),
        (["1e400"], {}, "string", ["1e400"], []),
        (["5,1", "2", "1.5"], {"decimal": ","}, "double", [5.1, 2.0, None], [2]),
        (["1.234,5", "1234,5", "12.34"], {"decimal": ",", "thousands": "."}, "double", [1234.5, 1234.5, None], [2]),
        (["1,234", "12", "1,23"], {"thousands": ","}, "int64", [1234, 12, None], [2]),
        (
            ["1 234,5", "1\u202f234,5", "1\u00a0234"],
            {"decimal": ",", "thousands": " "},
            "double",
            [1234.5, 1234.5, 1234.0],
            [],
        ),
        (["1'234.5"], {"thousands": "'"}, "double", [1234.5], []),
        ([None, None], {}, "double", [None, None], []),
        (["a", "b"], {}, "double", [None, None], [0, 1]),
        ([], {}, "double", [], []),
    ],
)
def test_what_is_a_number(
    cells: list[str | None], marks: dict[str, str], kind: str, right: list[object], wrong: list[int]
) -> None:
    assert values(cells, **marks) == (kind, right, [i in wrong for i in range(len(cells))])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_doubles_are_read_as_python_reads_them(floats: list[float]) -> None:
    kind, found, wrong = values([repr(it) for it in floats])
    if floats and kind == "double":
        assert found == floats
    assert not any(wrong)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(10**22), 10**22), min_size=1, max_size=20))
def test_whole_numbers_lose_no_digit(whole: list[int]) -> None:
    kind, found, wrong = values([str(it) for it in whole])
    assert kind == ("int64" if all(-(2**63) <= it < 2**63 for it in whole) else "string")
    assert [int(str(it)) for it in found] == whole
    assert not any(wrong)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=1, max_size=20))
def test_groups_and_a_decimal_comma_change_nothing(amounts: list[Decimal]) -> None:
    text = [f"{it:,.2f}".replace(",", "x").replace(".", ",").replace("x", ".") for it in amounts]
    kind, found, wrong = values(text, decimal=",", thousands=".")
    assert (kind, found) == ("double", [float(it) for it in amounts])
    assert not any(wrong)


@pytest.mark.parametrize(
    ("cells", "delimiter", "decimal", "thousands", "guess"),
    [
        (["5,1", "5,25"], ";", ",", "", False),
        (["5.1"], ";", ".", "", False),
        (["1.234,5", "7"], ";", ",", ".", False),
        (["1,234.5"], ",", ".", ",", False),
        (["1,234", "1.5"], ",", ".", ",", False),
        (["1,234,567", "12"], ",", ".", ",", False),
        (["1.234.567", "12"], ";", ",", ".", False),
        (["1 234,5"], ";", ",", " ", False),
        (["1'234.5"], ";", ".", "'", False),
        (["0,123", "1,234"], ";", ",", "", False),
        (["1,234", "2,345"], ";", ",", "", True),
        (["1,234", "2,345"], ",", ".", ",", True),
        (["1.234", "2.345"], ";", ".", "", False),
        (["18.00.00", "10/03/2004", "01.02.2026 10:00"], ",", ".", "", False),
        (["01.02.2026"], ";", ".", "", False),
        ([], ",", ".", "", False),
    ],
)
def test_the_marks_of_a_file(cells: list[str], delimiter: str, decimal: str, thousands: str, guess: bool) -> None:
    found = marks_of(cells, delimiter)
    assert (found.decimal, found.thousands, bool(found.note)) == (decimal, thousands, guess)
