"""Numbers that payloads have as text."""

import pytest
from pydantic import ValidationError

from headrace.config.route import Route
from headrace.errors import Reason
from tests.unit.mapping_world import Make, field, world

__all__ = ["world"]


NUMBERS = (
    field("t", unit="Cel"),
    field("n", "long"),
    field("many", {"type": "array", "items": "double"}, max_items=4),
    field("note", "string"),
    field("inner", {"type": "record", "name": "inner_of", "fields": [field("h")]}),
)


@pytest.mark.parametrize(
    ("mark", "texts"),
    [(".", ["22.31", "-7", "1e3", " 5.0 "]), (",", ["22,31", "-7", "1e3", " 5,0 "])],
)
def test_numbers_in_quotes_are_numbers_where_the_route_says_so(world: Make, mark: str, texts: list[str]) -> None:
    it = world({"filter": "a/{device_id}", "text_numbers": mark}, *NUMBERS)
    (row,) = it.rows(
        "a/d", {"t": texts[0], "n": texts[1], "many": [texts[2], 2], "note": "22.31", "inner": {"h": texts[3]}}
    )
    del row["event_time"], row["device_id"]
    assert row == {"t": 22.31, "n": -7, "many": [1000.0, 2.0], "note": "22.31", "inner": {"h": 5.0}}


@pytest.mark.parametrize(
    ("mark", "text"), [(".", "21,5"), (",", "1.234,5"), (".", "21.5 C"), (".", "0x10"), (".", "1_0")]
)
def test_other_text_in_a_number_is_a_dead_letter(world: Make, mark: str, text: str) -> None:
    it = world({"filter": "a/{device_id}", "text_numbers": mark}, *NUMBERS)
    ((reason, name, words, _),) = it.rows("a/d", {"t": text})
    assert (reason, name) == (Reason.WRONG_TYPE, "t")
    assert text in words


def test_text_that_says_nan_is_null_with_a_note(world: Make) -> None:
    it = world({"filter": "a/{device_id}", "text_numbers": "."}, *NUMBERS)
    (row,) = it.rows("a/d", {"t": "NaN", "inner": {"h": "-inf"}, "n": 1})
    assert row["_quality"] == "t:not_finite:null;inner.h:not_finite:null"


def test_a_number_in_quotes_is_converted(world: Make) -> None:
    route = {"filter": "a/{device_id}", "text_numbers": ",", "fields": {"t": {"path": "f", "unit": "degF"}}}
    (row,) = world(route, *NUMBERS).rows("a/d", {"f": "68,0"})
    assert row["t"] == 20.0


@pytest.mark.parametrize("form", ["csv", "senml", "value"])
def test_formats_that_have_text_anyway_take_no_mark(form: str) -> None:
    with pytest.raises(ValidationError, match=r"text_numbers: .*leave this out"):
        Route.model_validate({"filter": "a/{device_id}", "format": form, "text_numbers": "."})
