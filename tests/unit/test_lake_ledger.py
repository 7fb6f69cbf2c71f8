from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import FatalError
from headrace.lake import layout, ledger
from headrace.protocol.tail import Tail
from headrace.protocol.wire import Position
from headrace.store.folder import FolderStore


def entry(start: int = 0) -> ledger.Entry:
    return ledger.Entry(
        "imu.clean",
        "abc",
        1,
        start,
        start + 10,
        files=(ledger.StoredFile("imu/date=2026-01-02/x.parquet", 5, 1234, "ab" * 32),),
        repeats=((start + 5, start + 7),),
        refused=((start + 7, start + 8),),
        skipped=((start + 8, start + 9),),
        lost=((start + 9, start + 10),),
        last=Position(3, 2, 1),
        tail=Tail(9, 3, 2**32 - 1),
    )


def test_an_entry_is_read_back_and_accounts_for_each_offset() -> None:
    assert ledger.from_json(ledger.to_json(entry())) == entry()
    bare = ledger.Entry("t", "i", 0, 5, 7)
    assert ledger.from_json(ledger.to_json(bare)) == bare
    assert entry().unaccounted() == 0
    assert bare.unaccounted() == 2


def test_entries_are_read_in_order(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for start in (100, 20, 0):
        store.put(entry(start).key, ledger.to_json(entry(start)))
    found = list(ledger.read(store, layout.entries_prefix("imu.clean", "abc", 1)))
    assert [e.start for e in found] == [0, 20, 100]
    assert list(ledger.read(store, layout.entries_prefix("imu.clean", "abc", 2))) == []


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"version": 2}', b"nonsense"])
def test_an_object_that_is_not_an_entry_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(FatalError, match=r"x\.json"):
        ledger.from_json(data, "x.json")


@given(st.sets(st.integers(0, 60)))
def test_ranges_hold_the_same_offsets(offsets: set[int]) -> None:
    found = ledger.ranges(sorted(offsets))
    assert [o for a, b in found for o in range(a, b)] == sorted(offsets)
    assert ledger.count(found) == len(offsets)
    assert all(b < c for (_, b), (c, _) in pairwise(found))
