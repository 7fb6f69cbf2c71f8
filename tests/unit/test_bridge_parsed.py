"""Formats that a parser reads whole: what its objects become, and what becomes of a bad one among them."""

import json
from typing import Any, get_args

import pytest

from bridge.decoders import formats
from bridge.decoders.base import Reading, Refused, Source
from bridge.decoders.copies import MAX_ELEMENTS
from bridge.decoders.objects import ObjectReader
from bridge.decoders.parsed import ParsedDecoder, Parser
from headrace.config.route import Format
from headrace.contracts.model import parse
from headrace.errors import PoisonError, Reason

NOW = 1_700_000_000_000_000
HERE = Source({"device_id": "d-1"})
CONTRACT = parse(
    "r",
    json.dumps({
        "type": "record", "name": "r",
        "fields": [
            {"name": "device_id", "type": "string"},
            {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "x", "type": "double"},
            {"name": "n", "type": ["null", "long"], "default": None, "role": "sequence"},
            {"name": "_quality", "type": ["null", "string"], "default": None},
        ],
    }),
)  # fmt: skip


def pairs(payload: bytes) -> list[dict[str, Any]]:
    """`x=1;x=2`: a reading for each pair."""
    if not payload.isascii():
        raise PoisonError(Reason.MALFORMED, "not pairs")
    parts = [part.split("=") for part in payload.decode().split(";") if part]
    return [{key: value if value == "?" else float(value), "n": i} for i, (key, value) in enumerate(parts)]


def made(*, splits: bool) -> ParsedDecoder:
    split = (lambda payload: payload.split(b";")) if splits else None
    return ParsedDecoder(Parser(pairs, split), ObjectReader(CONTRACT, 7, ("device_id",)))


def test_each_object_is_a_reading_and_a_bad_one_is_refused_alone_where_the_payload_can_be_split() -> None:
    found = made(splits=True).decode(b"x=1;x=?;x=3", HERE, NOW)
    assert [type(f) for f in found] == [Reading, Refused, Reading]
    (refused,) = [f for f in found if isinstance(f, Refused)]
    assert (refused.error.reason, refused.error.field, refused.original) == (Reason.WRONG_TYPE, "x", b"x=?")


def test_a_payload_that_cannot_be_split_is_refused_whole_and_the_reading_is_named() -> None:
    (found,) = made(splits=False).decode(b"x=1;x=?;x=3", HERE, NOW)
    assert isinstance(found, Refused)
    assert found.original == b"x=1;x=?;x=3"
    assert str(found.error).startswith("reading 2 of 3: x: a number expected")


def test_what_is_not_the_format_is_one_dead_letter_and_nothing_is_skipped() -> None:
    decoder = made(splits=True)
    (found,) = decoder.decode(b"\xff", HERE, NOW)
    assert isinstance(found, Refused)
    assert found.original == b"\xff"
    (found,) = decoder.decode(b"", HERE, NOW)
    assert isinstance(found, Refused)
    assert "the payload is empty" in str(found.error)
    (found,) = decoder.decode(b";".join([b"x=1"] * (MAX_ELEMENTS + 1)), HERE, NOW)
    assert isinstance(found, Refused)
    assert found.error.reason is Reason.TOO_LARGE


def test_left_out_fields_are_counted_and_marks_are_of_the_first_object() -> None:
    decoder = made(splits=True)
    assert isinstance(decoder.decode(b"x=1;y=2", Source(HERE.captures, "ignore"), NOW)[1], Refused)
    assert decoder.ignored == 1
    assert decoder.marks(b"x=4") == {"event_time": None, "n": 0}
    assert decoder.marks(b"\xff") == {"event_time": None, "n": None}


@pytest.mark.parametrize("name", get_args(Format))
def test_every_format_of_the_configuration_has_its_reader(name: Format) -> None:
    assert (name in formats.FORMATS) != (name in formats.PARSERS)
