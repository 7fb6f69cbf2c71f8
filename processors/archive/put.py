"""Objects into the store, so that none is ever replaced by another: a late or repeated write changes nothing."""

import logging
import threading
import uuid

from headrace.errors import ConfigError, FatalError, TransientError
from headrace.health import Health
from headrace.lake import ledger
from headrace.lake.ledger import Entry, StoredFile
from headrace.store.base import ObjectStore
from processors.archive import parquet
from processors.archive.plan import File

log = logging.getLogger(__name__)
_FIRST_SECONDS, _MOST_SECONDS = 0.25, 10.0


def await_store(store: ObjectStore, health: Health, stop: threading.Event) -> bool | None:
    """Wait until the store has taken a probe object, encrypted where that is asked for, and has deleted it.

    Whether it refuses a conditional write over what is there; None when `stop` came before. /readyz tells what is
    waited for. ConfigError: the store refuses us, or does not encrypt.
    """
    key = f"_probe/{uuid.uuid4().hex}"  # one for all attempts: what an outage left of one, the next takes away
    delay = _FIRST_SECONDS
    while not stop.is_set():
        try:
            health.progress()
            store.ensure_bucket()
            health.progress()
            conditional = keeps_conditions(store, key)
        except TransientError as e:
            health.ready("store", False, str(e))
            log.warning("waiting", extra={"for": "store", "error": str(e), "again_in_s": delay})
            stop.wait(delay)
            delay = min(2 * delay, _MOST_SECONDS)
        else:
            if not conditional:
                log.warning("the store ignores conditions of writes: each object is looked for before it is written")
            return conditional
    return None


def keeps_conditions(store: ObjectStore, key: str) -> bool:
    """Whether the store refuses a conditional write over what is there. Asks with an object of its own, `key`.

    The object is gone afterwards, except on TransientError: ask again with the same key.
    """
    try:
        # False is fine here: the answer was lost, and the HTTP client's second try met the object of the first.
        store.put(key, b"1", if_absent=True)
        kept = not store.put(key, b"2", if_absent=True)
    except ConfigError:
        store.delete(key)  # what does not encrypt has it all the same
        raise
    store.delete(key)
    return kept


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
