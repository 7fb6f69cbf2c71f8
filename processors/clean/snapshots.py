"""Snapshots of look-backs in the object store: read when partitions come, written now and then, and when they go.

They only save time. What is missing, late, refused or of no use costs a look into the log, and a line that says so.
One object a partition, replaced by the next: of a former owner's that arrives late, or an older one, less is of use.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from headrace.errors import FatalError, HeadraceError
from headrace.protocol.names import key_part
from headrace.store.base import ObjectStore
from processors.clean.lookback import Lookback
from processors.clean.partition import RawPartition
from processors.clean.snapshot import Snapshot, decode, encode, serves
from processors.group.partition import Found, resume
from processors.group.token import Partition

log = logging.getLogger(__name__)

FOLDER = "_state/clean"
STORE_SECONDS = 4.0  # for an answer of the store: to read the log takes longer
_READ_SECONDS, _LEAVE_SECONDS = 20.0, 5.0  # for all partitions at most, while answers come
_AGAIN_SECONDS = 60.0  # after the store has failed, until something is written to it
_LOAD_SECONDS = 10.0  # for the client to be loaded, on a machine with other things to do
_AT_ONCE = 4
_STEP = 10_000  # offsets between two snapshots of a partition, at least: each is a PUT, and a short log is read at once


class Snapshots:
    """Reads and writes on threads of its own, through a store that waits STORE_SECONDS for an answer at most."""

    def __init__(self, store: Callable[[], ObjectStore], length: int) -> None:
        """`store` opens it. `length`: how many raw offsets clean looks back."""
        self._open, self._length = store, length
        self._store: ObjectStore | None = None
        self._lock, self._loaded = threading.Lock(), threading.Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE, "snapshot")
        self._ready: dict[Partition, Lookback] = {}
        self._writing: dict[Partition, Future[None]] = {}
        self._failed = -_AGAIN_SECONDS
        self._step = max(_STEP, length // 2)
        self._least = max(1, length // 20)  # offsets that are read from the log in less time than an object takes

    def warm(self) -> None:
        """Load the client, which takes a while, on a thread of its own: servers are waited for meanwhile."""
        self._pool.submit(self._load)

    def fetch(self, found: Mapping[Partition, Found]) -> None:
        """Read what there is for partitions that come, all at the same time: `take` has it then. FatalError as resume.

        Waits while answers come, and for STORE_SECONDS without one.
        """
        self._ready, errors = {}, list[str]()
        wanted = [p for p, it in found.items() if self._worth(p, it)]
        if wanted and not self._loaded.is_set():
            self._loaded.wait(_LOAD_SECONDS)  # that is our own time, not the store's
        begun, late = time.monotonic(), {self._pool.submit(self._read, p, found[p]): p for p in wanted}
        while late and time.monotonic() - begun < _READ_SECONDS:
            done, _ = wait(late, STORE_SECONDS, FIRST_COMPLETED)
            for one in done:
                source = late.pop(one)
                try:
                    lookback = one.result()
                except Exception as e:  # noqa: BLE001 - there is the log, and a new start would meet the same
                    errors.append(f"{source[0]}/{source[1]}: {e}")
                else:
                    self._ready |= {source: lookback} if lookback is not None else {}
            if not done:
                errors.append(f"the object store: no answer in {STORE_SECONDS:.0f} s")
                break
        for one in late:
            one.cancel()
        if wanted:
            about = {"found": len(self._ready), "of": len(wanted), "seconds": round(time.monotonic() - begun, 2)}
            log.info("look-backs from the store", extra={**about, **({"error": errors[0]} if errors else {})})

    def take(self, source: Partition) -> Lookback | None:
        """What was read for a partition, once; None if its log is to be read."""
        return self._ready.pop(source, None)

    def offer(self, it: RawPartition) -> None:
        """Write a snapshot if half a look-back, and _STEP, has passed since the last one, on another thread."""
        if not it.whole or it.next - it.saved < self._step:
            return
        self._writing = {p: job for p, job in self._writing.items() if not job.done()}
        if it.source in self._writing or len(self._writing) >= _AT_ONCE // 2:
            return  # later
        self._write(it)

    def leave(self, partitions: Sequence[RawPartition]) -> None:
        """Write snapshots of partitions that go to other members, and wait for that: they will look for them."""
        begun, late = time.monotonic(), set[Future[None]]()
        left = [it for it in partitions if it.whole]
        while (left or late) and time.monotonic() - begun < _LEAVE_SECONDS:
            while left and len(late) < _AT_ONCE:  # a copy of each look-back at once could be more than memory has
                it = left.pop()
                if it.next - it.saved >= self._least:
                    self._write(it)
                if it.source in self._writing:
                    late.add(self._writing[it.source])
            done, late = wait(late, STORE_SECONDS, FIRST_COMPLETED)
            if not done:
                break
        for one in late:
            one.cancel()

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _worth(self, source: Partition, found: Found) -> bool:
        position, _ = resume(source, found)
        return position - max(found.low, position - self._length) > self._least

    def _load(self) -> None:
        try:
            self._opened()
        except HeadraceError as e:
            log.info("the object store can't be opened for look-backs", extra={"error": str(e)})
        finally:
            self._loaded.set()

    def _opened(self) -> ObjectStore:
        with self._lock:
            if self._store is None:
                self._store = self._open()
            return self._store

    def _read(self, source: Partition, found: Found) -> Lookback | None:
        position, note = resume(source, found)
        try:
            data = self._opened().get(_key(source, note.topic_id))
        except FatalError:
            return None  # there is none
        snapshot = decode(data)
        if not serves(snapshot, note, position, found.low, self._length):
            return None
        out = Lookback(self._length)
        out.add(snapshot.seen)
        return out

    def _write(self, it: RawPartition) -> None:
        if it.note.tail is None or time.monotonic() - self._failed < _AGAIN_SECONDS:
            return
        snapshot = Snapshot(it.note.topic_id, self._length, it.note.tail, it.lookback.kept())  # a copy
        it.saved = it.next
        self._writing[it.source] = self._pool.submit(self._put, it.source, snapshot)

    def _put(self, source: Partition, it: Snapshot) -> None:
        try:
            self._opened().put(_key(source, it.topic_id), encode(it))
        except HeadraceError as e:
            self._failed = time.monotonic()
            about = {"partition": f"{source[0]}/{source[1]}", "error": str(e)}
            log.info("a look-back is not written to the store", extra=about)


def _key(source: Partition, topic_id: str) -> str:
    return f"{FOLDER}/{key_part(source[0])}/{key_part(topic_id)}/p{source[1]}.lookback"
