"""The headers of many records at once say what each says alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.protocol import wire
from headrace.protocol.wire import HAS_EVENT_ID, HAS_POSITION, PROVENANCE, Position, Provenance
from processors.provenance import BYTES, LAYOUT, Marks, at, fields, has, marks, nothing, placed
from tests.profiles import examples
from tests.unit.test_wire import CAME

DATA = st.none() | st.binary(max_size=70) | CAME.map(lambda it: it.header()[1])
NAMED = st.tuples(st.sampled_from([PROVENANCE, PROVENANCE, "other"]), DATA)
USUAL = st.builds(
    Provenance,
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**63 - 1),
    st.just(b""),
    st.integers(0, 15),
    st.just(b""),
)


def said(it: Marks, row: int) -> Provenance:
    """What a row of the columns says."""
    one = fields(it)[row]
    event = one["event_id"].tobytes() if has(it, HAS_EVENT_ID)[row] else None
    position = one.tobytes()[wire.FIXED_BYTES :] if has(it, HAS_POSITION)[row] else b""
    return Provenance(event, int(one["received"]), b"", int(one["flags"]) & 15, position)


@examples(2)
@given(st.lists(st.none() | st.lists(NAMED, max_size=3), max_size=8))
def test_in_columns_as_one_by_one(headers: list[Any]) -> None:
    found = marks(headers)
    assert len(found) == len(headers)
    for i, it in enumerate(headers):
        assert said(found, i) == wire.provenance(it)._replace(mqtt_topic=b"")
        assert (said(marks([it]), 0), marks([it]).tobytes()) == (said(found, i), found[i].tobytes())


@given(st.lists(USUAL, min_size=1, max_size=5), st.binary(min_size=1, max_size=50))
def test_what_the_bridge_and_clean_write_is_read_alike_whatever_the_topic(rows: list[Provenance], topic: bytes) -> None:
    raw = marks([[it._replace(mqtt_topic=topic).header()] for it in rows])
    clean = placed(raw, np.arange(len(rows)), np.arange(len(rows)), Position(-1, -1, -1))
    assert {len(data) for ((_, data),) in clean} == {BYTES}
    again = marks(clean)
    assert [said(again, i)._replace(position=b"") for i in range(len(rows))] == rows
    assert not fields(raw)["offset"].any(), "what it is made of is left as it was"


@pytest.mark.parametrize("size", range(BYTES + 2))
def test_a_topic_is_never_taken_for_a_position(size: int) -> None:
    data = Provenance(b"i" * 16, 5, b"x" * size, 1).header()
    found = marks([[data]])
    assert said(found, 0) == Provenance(b"i" * 16, 5, b"", 1)
    assert not found.tobytes()[wire.FIXED_BYTES :].strip(b"\0")


def test_the_layout_is_that_of_the_wire_format() -> None:
    came = Provenance(b"i" * 16, 5, b"", 1 | wire.DUP, wire.pack_position(Position(1, 2, 3), Position(4, 5, 6)))
    (row,) = fields(marks([[came.header()]]))
    assert row["received"] == 5
    assert [row[name] for name in LAYOUT.names[-6:]] == [1, 2, 3, 4, 5, 6]  # type: ignore[index]
    assert row.tobytes() == came.header()[1]
    assert LAYOUT.itemsize == BYTES
    assert len(nothing(0)) == len(marks([])) == 0
    assert said(nothing(1), 0) == wire.UNKNOWN


def test_a_row_that_its_source_numbered_has_no_number_any_more() -> None:
    data = Provenance(b"i" * 16, 5).header()[1]
    numbered = [(PROVENANCE, data[:1] + bytes([data[1] | wire.NUMBERED]) + data[2:] + bytes(8) + b"upload")]
    ((row,),) = placed(marks([numbered]), np.array([1]), np.array([2]), wire.ORIGIN)
    position = wire.pack_position(Position(1, 2, 0), wire.ORIGIN)
    assert row == Provenance(b"i" * 16, 5, position=position).header()


@given(st.lists(CAME, min_size=1, max_size=5))
def test_one_of_many_says_what_it_says_alone_but_the_topic(rows: list[Provenance]) -> None:
    found = marks([[it.header()] for it in rows] + [None])
    assert [at(found, i) for i in range(len(rows))] == [it._replace(mqtt_topic=b"") for it in rows]
    assert at(found, len(rows)) == wire.UNKNOWN
