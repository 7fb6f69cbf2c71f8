"""Write objects so that none is ever replaced: a late or repeated write changes nothing."""

import logging
import threading
import uuid
from dataclasses import dataclass

from headrace.errors import ConfigError, FatalError
from headrace.lake import ledger
from headrace.lake.ledger import Entry, StoredFile
from headrace.runtime.health import Health
from headrace.store.base import ObjectStore
from processors.archive import parquet
from processors.archive.plan import File
from processors.group.startup import until_there

log = logging.getLogger(__name__)


def await_store(store: ObjectStore, health: Health, stop: threading.Event) -> bool | None:
    """Wait until the store has taken a probe object, encrypted if the settings ask for it, and has deleted it.

    Returns whether the store refuses a conditional write over what is there; None when `stop` came first. /readyz says
    why we wait. ConfigError: the store refuses us, or does not encrypt.
    """
    key = f"_probe/{uuid.uuid4().hex}"  # one for all attempts: each deletes what an outage left of the one before

    def ask() -> bool:
        store.ensure_bucket()
        health.progress()
        return keeps_conditions(store, key)

    conditional = until_there("store", ask, health, stop)
    if conditional is False:
        log.warning("the store has no conditional writes: the archive looks for each object before it writes it")
    return conditional


def keeps_conditions(store: ObjectStore, key: str) -> bool:
    """Whether the store refuses a conditional write over what is there: tried with the object `key`.

    The object is deleted afterwards. After a TransientError it may be there: call again with the same key.
    """
    try:
        # False is fine here: the first answer was lost, and the HTTP client's second try met its object.
        store.put(key, b"1", if_absent=True)
        kept = not store.put(key, b"2", if_absent=True)
    except ConfigError:
        store.delete(key)  # a store that does not encrypt has kept it all the same
        raise
    store.delete(key)
    return kept


@dataclass(frozen=True, slots=True)
class WriteOnce:
    """A store in which an object that is there is never replaced. Errors as ObjectStore's.

    `conditional`: whether the store refuses a conditional write over what is there. If not, look first.
    """

    store: ObjectStore
    conditional: bool

    def put_file(self, file: File) -> StoredFile:
        """Store a data file, or find it there with the same rows. FatalError where other rows are there."""
        data = file.data
        there = self._put(file.key, data)
        if there is not None:
            if not parquet.same_rows(there, data):
                raise FatalError(
                    f"{file.key} is in the store with other rows than those of this batch. Nothing was written. "
                    "Was the topic's log replaced, or the lake copied from elsewhere?"
                )
            data = there
        return StoredFile(file.key, file.rows, len(data), ledger.checksum(data))

    def put_absent(self, file: File) -> None:
        """Store a data file, unless a file with its name is there, whatever rows that has."""
        self._put(file.key, file.data)

    def put_entry(self, entry: Entry) -> None:
        """Store a ledger entry, or find it there. FatalError where another one is there."""
        there = self._put(entry.key, ledger.to_json(entry))
        if there is not None and ledger.from_json(there, entry.key) != entry:
            raise FatalError(f"{entry.key} is in the store and describes another batch. Nothing was written")

    def _put(self, key: str, data: bytes) -> bytes | None:
        """None when written; else the bytes that are there already."""
        if self.conditional:
            return None if self.store.put(key, data, if_absent=True) else self.store.get(key)
        if self.store.exists(key):
            return self.store.get(key)
        self.store.put(key, data)
        return None
