import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import FatalError
from headrace.wire import ORIGIN, Position, pack_position
from processors.archive.positions import new_rows, sources

positions = st.builds(Position, st.integers(0, 2), st.integers(0, 4), st.integers(0, 2))


def headers(rows: list[tuple[Position, Position]]) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    return np.frombuffer(b"".join(pack_position(*r) for r in rows), np.uint8).reshape(len(rows), 32)


def one_by_one(rows: list[tuple[Position, Position]], last: Position | None, *, loose: bool) -> list[bool] | None:
    """The rule, as DESIGN states it. None for a hole."""
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
