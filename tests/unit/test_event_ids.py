"""Repeats: against a plain model, whatever the batches."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.protocol.wire import Provenance
from headrace.uploads.order import row_ids
from processors.arrays import Ints
from processors.clean import event_ids
from processors.clean.event_ids import EventIds, Ids, _may_repeat
from processors.provenance import marks
from tests.profiles import examples


def key(n: int) -> bytes:
    return n.to_bytes(8, "little") + n.to_bytes(8, "big")


def ids_of(keys: list[bytes | None], offsets: Ints) -> Ids:
    return event_ids.ids_of(marks([[Provenance(it).header()] for it in keys]), offsets)


def model(ids: list[bytes | None], offsets: list[int], length: int) -> list[bool]:
    both = list(zip(offsets, ids, strict=True))
    return [i is not None and any(o - length <= p < o and i == j for p, j in both) for o, i in both]


def run(ids: list[bytes | None], offsets: list[int], length: int, cuts: list[int]) -> list[bool]:
    look, out = EventIds(length), []
    bounds = sorted({0, len(ids), *(c for c in cuts if c < len(ids))})
    for a, b in itertools.pairwise(bounds):
        at = np.array(offsets[a:b], dtype=np.int64)
        batch = ids_of(ids[a:b], at)
        first = look.repeats(batch).tolist()
        assert look.repeats(batch).tolist() == first  # asking changes nothing
        look.add(batch)
        out += first
    return out


@examples(2)
@given(
    st.lists(st.tuples(st.none() | st.integers(0, 6), st.integers(1, 4)), max_size=40),
    st.integers(1, 30),
    st.lists(st.integers(0, 40), max_size=6),
)
def test_as_the_model_says(steps: list[tuple[int | None, int]], length: int, cuts: list[int]) -> None:
    ids = [None if n is None else key(n) for n, _ in steps]
    offsets = np.cumsum([step for _, step in steps], dtype=np.int64).tolist()
    assert run(ids, offsets, length, cuts) == model(ids, offsets, length)


def test_long_runs_and_growth() -> None:
    """200,000 rows, each id again after 50,000: a repeat for a look-back of 50,000, none for one less."""
    n, again = 200_000, 50_000
    offsets = np.arange(n, dtype=np.int64) + 10**12
    keys = np.random.default_rng(1).integers(0, 2**63, (again, 2), dtype=np.uint64)
    ids: list[bytes | None] = [bytes(keys[i % again]) for i in range(n)]
    for length, expected in ((again, n - again), (again - 1, 0)):
        look, found = EventIds(length), 0
        for a in range(0, n, 30_000):
            batch = ids_of(ids[a : a + 30_000], offsets[a : a + 30_000])
            found += int(look.repeats(batch).sum())
            look.add(batch)
        assert found == expected


def test_a_log_with_a_large_gap_keeps_the_later_of_two_ids_that_fall_in_one_place() -> None:
    """A batch that spans more offsets than there are places: the id that comes twice in it is the one to stay."""
    ids: list[bytes | None] = [key(1), key(2), key(1), key(1)]
    offsets = [0, 100, 100 + 2**16, 101 + 2**16]
    assert run(ids, offsets, 10, [3]) == [False, False, False, True]


def test_one_reading_sent_without_end_stays_quick() -> None:
    look = EventIds(100_000)
    for a in range(0, 200_000, 20_000):
        batch = ids_of([key(1)] * 20_000, np.arange(a, a + 20_000, dtype=np.int64))
        assert int(look.repeats(batch).sum()) == 20_000 - (a == 0)
        look.add(batch)
    assert look._used < 100


@pytest.mark.parametrize("upload", ["6f1c0a92e3b74d55", "0000000000000000", "ffffffffffffffff"])
def test_ids_of_the_rows_of_files_lie_apart(upload: str) -> None:
    """They begin alike, and then count: in one heap each would be looked for behind all others."""
    rows = np.arange(100_000)
    keys = row_ids(upload, rows).view(np.uint64)
    it = EventIds(200_000)
    it.add(Ids(len(rows), keys, rows, rows))
    homes = it._home(keys.T)
    assert np.bincount(homes).max() <= 8
    assert not _may_repeat(keys)
    assert it.repeats(Ids(len(rows), keys, rows, rows + 100_000)).all()


def test_ids_of_the_same_rows_of_many_files_lie_apart() -> None:
    uploads = [f"{n * 2654435761 % 2**64:016x}" for n in range(5_000)]
    keys = np.concatenate([row_ids(it, np.arange(20)) for it in uploads]).view(np.uint64)
    it, places = EventIds(200_000), np.arange(len(keys))
    it.add(Ids(len(keys), keys, places, places))
    assert np.bincount(it._home(keys.T)).max() <= 12
