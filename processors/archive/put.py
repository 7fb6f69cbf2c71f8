"""Objects into the store, so that none is ever replaced by another: a late or repeated write changes nothing."""

import logging
import uuid

from headrace.errors import ConfigError, FatalError
from headrace.lake import ledger
from headrace.lake.ledger import Entry, StoredFile
from headrace.store.base import ObjectStore
from processors.archive import parquet
from processors.archive.plan import File

log = logging.getLogger(__name__)


def keeps_conditions(store: ObjectStore) -> bool:
    """Whether the store refuses a conditional write over what is there. Asks with an object of its own."""
    key = f"_probe/{uuid.uuid4().hex}"
    try:
        return store.put(key, b"1", if_absent=True) and not store.put(key, b"2", if_absent=True)
    except ConfigError as e:
        log.warning(
            "the store takes no conditional write: existing objects are compared first", extra={"error": str(e)}
        )
        return False
    finally:
        store.delete(key)


def put_file(store: ObjectStore, file: File, *, conditional: bool) -> StoredFile:
    """Store a data file, or find it there with the same rows. FatalError where other rows are there."""
    data = file.data
    there = _put(store, file.key, data, conditional=conditional)
    if there is not None:
        if not parquet.same_rows(there, data):
            raise FatalError(
                f"{file.key} is in the store with other rows than those of this batch. Nothing was written. "
                "Was the topic's log replaced, or the lake copied from elsewhere?"
            )
        data = there
    return StoredFile(file.key, file.rows, len(data), ledger.checksum(data))


def put_absent(store: ObjectStore, file: File, *, conditional: bool) -> None:
    """Store a data file, unless one of its name is there, whatever rows that holds."""
    _put(store, file.key, file.data, conditional=conditional)


def put_entry(store: ObjectStore, entry: Entry, *, conditional: bool) -> None:
    """Store a ledger entry, or find it there. FatalError where another one is there."""
    there = _put(store, entry.key, ledger.to_json(entry), conditional=conditional)
    if there is not None and ledger.from_json(there, entry.key) != entry:
        raise FatalError(f"{entry.key} is in the store and tells of another batch. Nothing was written")


def _put(store: ObjectStore, key: str, data: bytes, *, conditional: bool) -> bytes | None:
    """None when written; else the bytes that were there already."""
    if conditional:
        return None if store.put(key, data, if_absent=True) else store.get(key)
    if store.exists(key):
        return store.get(key)
    store.put(key, data)
    return None
