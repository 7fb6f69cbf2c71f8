from pathlib import Path

import pytest

from headrace.config.connect import Store
from headrace.errors import FatalError
from headrace.lake import ledger
from headrace.lake.adopt import position
from headrace.lake.ledger import Entry, StoredFile
from headrace.store.base import ObjectStore
from headrace.store.open import open_store
from headrace.wire import Position

TOPIC, ID = "imu.clean", "AAAAAAAAAAAAAAAAAAAAAA"
KEY = f"imu/date=2026-01-01/{TOPIC}-{ID}-p0-o{0:020d}-s1.parquet"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    it = open_store(Store(kind="folder", folder=tmp_path))
    it.ensure_bucket()
    return it


def add(store: ObjectStore, start: int, end: int, last: int) -> None:
    file = StoredFile(KEY, end - start, 1, "00")
    entry = Entry(TOPIC, ID, 0, start, end, files=(file,), last=Position(0, last, 0))
    store.put(entry.key, ledger.to_json(entry))


def test_an_empty_lake_begins_at_the_logs_start(store: ObjectStore) -> None:
    end, note = position(store, TOPIC, ID, 0, low=7)
    assert (end, note.last, note.topic_id) == (7, None, ID)


def test_the_ledgers_end_is_where_the_archive_goes_on(store: ObjectStore) -> None:
    store.put(KEY, b"x")
    add(store, 0, 10, last=12)
    add(store, 10, 25, last=30)
    end, note = position(store, TOPIC, ID, 0, low=0)
    assert (end, note.last) == (25, Position(0, 30, 0))
    assert position(store, TOPIC, "another" + ID[7:], 0, low=3)[0] == 3


def test_a_hole_in_the_ledger_is_refused(store: ObjectStore) -> None:
    add(store, 0, 10, last=9)
    add(store, 11, 20, last=19)
    with pytest.raises(FatalError, match="10 to 11"):
        position(store, TOPIC, ID, 0, low=0)


def test_a_file_that_the_ledger_does_not_have_is_refused(store: ObjectStore) -> None:
    store.put(KEY, b"x")
    with pytest.raises(FatalError, match="not in the ledger"):
        position(store, TOPIC, ID, 0, low=0)
