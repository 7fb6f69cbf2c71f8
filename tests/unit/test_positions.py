"""Source positions: what clean writes is the wire format, and what is read of it is the rule of DESIGN, row by row."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import FatalError
from headrace.protocol.wire import ORIGIN, Position, Provenance, pack_position
from processors.positions import new_rows, sources
from processors.provenance import Marks, marks, nothing, placed

positions = st.builds(Position, st.integers(0, 2), st.integers(0, 4), st.integers(0, 2))


def headers(rows: list[tuple[Position, Position]]) -> Marks:
    return marks([[Provenance(position=pack_position(*r)).header()] for r in rows])


def one_by_one(rows: list[tuple[Position, Position]], last: Position | None, *, loose: bool) -> list[bool] | None:
    """The rule of the design, one row after the other. None: there is a hole."""
    out = []
    for src, prev in rows:
        take = last is None or src > last
        if take:
            if last is not None and prev > last and not loose:
                return None
            last, loose = src, False
        out.append(take)
    return out


@given(st.lists(st.tuples(positions, positions), max_size=12), st.none() | positions, st.booleans())
def test_in_columns_as_one_by_one(rows: list[tuple[Position, Position]], last: Position | None, loose: bool) -> None:
    expected = one_by_one(rows, last, loose=loose)
    if expected is None:
        with pytest.raises(FatalError, match="missing"):
            new_rows(headers(rows), last, loose=loose)
    else:
        assert new_rows(headers(rows), last, loose=loose).tolist() == expected


@given(st.lists(positions, unique=True, min_size=1).map(sorted), st.data())
def test_a_retried_clean_neither_doubles_nor_loses(emitted: list[Position], data: st.DataObject) -> None:
    chain = list(zip(emitted, [ORIGIN, *emitted], strict=False))
    again = data.draw(st.integers(0, len(chain)))
    until = data.draw(st.integers(again, len(chain)))
    log = chain[:until] + chain[again:]  # stopped at `until`, and began again at `again`
    taken = new_rows(headers(log), None)
    assert [src for (src, _), take in zip(log, taken, strict=True) if take] == emitted


def test_sources_are_read_from_the_header() -> None:
    found = sources(headers([(Position(1, 2**40, 3), ORIGIN)]))
    assert found.at(0) == Position(1, 2**40, 3)


@given(
    st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1)), max_size=5),
    st.builds(Position, st.integers(-1, 9), st.integers(-1, 2**40), st.integers(-1, 9)),
)
def test_headers_written_in_columns_are_those_of_the_wire_format(rows: list[tuple[int, int]], before: Position) -> None:
    chain = [before, *(Position(e, o, 0) for e, o in rows)]
    expected = [[Provenance(position=pack_position(src, prev)).header()] for prev, src in itertools.pairwise(chain)]
    epochs, offsets = (np.array([r[k] for r in rows], dtype=np.int64) for k in (0, 1))
    assert placed(nothing(len(rows)), epochs, offsets, before) == expected


def test_a_hole_is_told_with_both_positions() -> None:
    row = headers([(Position(2, 9, 0), Position(1, 8, 0))])
    with pytest.raises(FatalError, match="the row of source 2/9/0 follows 1/8/0, which never came"):
        new_rows(row, Position(1, 7, 0))
