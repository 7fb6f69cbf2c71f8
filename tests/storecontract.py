"""What every object store must do: each rule takes a store that exists, and a folder in it that nobody else uses."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.errors import FatalError
from headrace.store.base import ObjectStore, get_file

Rule = Callable[[ObjectStore, str], None]


def what_is_put_is_got(store: ObjectStore, at: str) -> None:
    """Bytes come back as they were."""
    key = f"{at}/imu/date=2026-01-02/a-b.parquet"
    assert store.put(key, b"rows")
    assert store.get(key) == b"rows"
    assert store.exists(key)
    assert not store.exists(f"{at}/imu/date=2026-01-02/other")


def a_file_is_put_and_got_as_bytes_are(store: ObjectStore, at: str) -> None:
    """Of more than one block, and of none; over what is there."""
    with tempfile.TemporaryDirectory() as name:
        here, back = Path(name) / "here", Path(name) / "back"
        for data in (os.urandom(20 << 20), b"few", b""):
            here.write_bytes(data)
            store.put_file(f"{at}/imu/date=2026-01-02/file", here)
            assert store.get(f"{at}/imu/date=2026-01-02/file") == data
            get_file(store, f"{at}/imu/date=2026-01-02/file", back)
            assert back.read_bytes() == data
        assert [i.size for i in store.list(f"{at}/imu/")] == [0]
        with pytest.raises(FatalError, match="no object"):
            get_file(store, f"{at}/none", back)
        with pytest.raises(OSError, match="none"):
            store.put_file(f"{at}/none", Path(name) / "none")


def a_conditional_put_keeps_what_is_there(store: ObjectStore, at: str) -> None:
    """`if_absent` writes once."""
    assert store.put(f"{at}/k", b"first", if_absent=True)
    assert not store.put(f"{at}/k", b"second", if_absent=True)
    assert store.get(f"{at}/k") == b"first"
    assert store.put(f"{at}/k", b"third")
    assert store.get(f"{at}/k") == b"third"


def a_listing_holds_what_lies_under_the_prefix(store: ObjectStore, at: str) -> None:
    """All of it, at any depth, and nothing else."""
    for key in ("a/1", "a/b/2", "ab/3"):
        store.put(f"{at}/{key}", b"123")
    assert sorted(i.key for i in store.list(f"{at}/a/")) == [f"{at}/a/1", f"{at}/a/b/2"]
    assert {i.size for i in store.list(f"{at}/")} == {3}
    assert list(store.list(f"{at}/none/")) == []


def delete_is_fine_twice_and_get_of_nothing_says_so(store: ObjectStore, at: str) -> None:
    """No object is no error to delete, and FatalError to get."""
    store.put(f"{at}/k", b"")
    store.delete(f"{at}/k")
    store.delete(f"{at}/k")
    assert not store.exists(f"{at}/k")
    with pytest.raises(FatalError, match="no object"):
        store.get(f"{at}/k")


def keys_may_hold_what_the_layout_makes(store: ObjectStore, at: str) -> None:
    """Equals signs, percent signs and dots."""
    key = f"{at}/a%2Fb/date=2026-01-02/x.y-s1.parquet"
    store.put(key, b"1")
    assert [i.key for i in store.list(f"{at}/a%2Fb/")] == [key]
    assert store.get(key) == b"1"


RULES: list[Rule] = [
    what_is_put_is_got,
    a_file_is_put_and_got_as_bytes_are,
    a_conditional_put_keeps_what_is_there,
    a_listing_holds_what_lies_under_the_prefix,
    delete_is_fine_twice_and_get_of_nothing_says_so,
    keys_may_hold_what_the_layout_makes,
]
