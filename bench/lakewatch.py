"""When rows of a stream can be queried: a thread lists the stack's store, and notes when it sees each file first."""

import io
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

from headrace.config import Config, load
from headrace.protocol.names import lake_folder
from headrace.store.open import open_store

PAUSE = 0.1  # seconds between two listings: a file may be there so much earlier


class LakeWatch:
    """While the block lasts, new files of a `.clean` topic are noted."""

    def __init__(self, state: Path, topic: str) -> None:
        self._config: Config = load(state / "headrace.yaml", {})
        self._store = open_store(self._config.store)
        self._folder = f"{lake_folder(topic)}/"
        self._seen: dict[str, float] = {}  # by key; seconds since 1970
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def rotation(self) -> float:
        """Seconds after which the archive closes a file at the latest."""
        return self._config.archive.max_age_seconds

    def __enter__(self) -> Self:
        self._old = set(self._keys())
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, it: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def delays(self, count: int, seconds: float) -> list[float]:
        """Milliseconds from each new row's `event_time` until its file was seen. Waits for `count` rows, or so long."""
        out: list[float] = []
        read: set[str] = set()
        until = time.monotonic() + seconds
        while len(out) < count and time.monotonic() < until:
            for key in self._seen.keys() - read:
                read.add(key)
                rows = pl.read_parquet(io.BytesIO(self._store.get(key)), columns=["event_time"])
                times = rows["event_time"].dt.epoch("us").to_list()
                out += [self._seen[key] * 1e3 - t / 1e3 for t in times]
            time.sleep(PAUSE)
        return out

    def _keys(self) -> list[str]:
        return [it.key for it in self._store.list(self._folder) if it.key.endswith(".parquet")]

    def _watch(self) -> None:
        while not self._stop.wait(PAUSE):
            found, now = self._keys(), time.time()
            for key in found:
                if key not in self._old:
                    self._seen.setdefault(key, now)
