"""Numbers of text: exact, by the marks of the file, and what is none is said for each cell."""

from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.readers.textmarks import marks_of, plain


def texts(cells: Sequence[str | None], **marks: str) -> list[str | None]:
    found: list[str | None] = plain(pa.array(cells, pa.string()), **marks).to_pylist()
    return found


@pytest.mark.parametrize(
    ("cells", "marks", "right"),
    [
        (["1", "-2", None, "+3"], {}, ["1", "-2", None, "3"]),
        (["1.5", ".5", "5.", "1e5", "-1E-2"], {}, ["1.5", ".5", "5.", "1e5", "-1E-2"]),
        (["x", "nan", "inf", "0x10", "1_0", "1,5", "", "\u0663"], {}, [None] * 8),
        (["9007199254740993", "1e400"], {}, ["9007199254740993", "1e400"]),
        (["5,1", "2", "1.5"], {"decimal": ","}, ["5.1", "2", None]),
        (["1.234,5", "1234,5", "12.34"], {"decimal": ",", "thousands": "."}, ["1234.5", "1234.5", None]),
        (["1,234", "12", "1,23"], {"thousands": ","}, ["1234", "12", None]),
        (["1 234,5", "1\u202f234,5", "1\u00a0234"], {"decimal": ",", "thousands": " "}, ["1234.5", "1234.5", "1234"]),
        (["1'234.5"], {"thousands": "'"}, ["1234.5"]),
        ([None, None], {}, [None, None]),
        ([], {}, []),
    ],
)
def test_what_is_a_number(cells: list[str | None], marks: dict[str, str], right: list[str | None]) -> None:
    assert texts(cells, **marks) == right
    assert [texts([cell], **marks)[0] for cell in cells] == right  # whatever else is in the column


@settings(max_examples=50, deadline=None)
@given(st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=1, max_size=20))
def test_groups_and_a_decimal_comma_change_nothing(amounts: list[Decimal]) -> None:
    text = [f"{it:,.2f}".replace(",", "x").replace(".", ",").replace("x", ".") for it in amounts]
    assert texts(text, decimal=",", thousands=".") == [f"{it:.2f}" for it in amounts]


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
