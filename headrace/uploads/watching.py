"""What a watched folder holds, and what became of each file: kept in SQLite, so that a restart goes on.

A file is looked at when it has not changed for a while. What was dealt with is known by its path and by what the file
system says of it (size, times of change, inode); what is uploaded is known by content, so a second look costs reading
alone, and stores nothing.
"""

import sqlite3
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from headrace.readers import containers


class Fate(StrEnum):
    """What became of a file."""

    LOADED = "loaded"
    REFUSED = "refused"  # until it changes
    NO_PROFILE = "no profile"


class Mark(NamedTuple):
    """What the file system says of a file: another one after any change of it."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int


class Seen(NamedTuple):
    """A file of the folder."""

    path: Path
    mark: Mark


class Memory:
    """What became of files: a context manager on a SQLite file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path)
        with self._db:
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INT, modified INT, changed INT,"
                " inode INT, fate TEXT, words TEXT)"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    def known(self, it: Seen) -> bool:
        """Whether this file, as it is now, was dealt with."""
        asked = "SELECT size, modified, changed, inode FROM files WHERE path = ?"
        row = self._db.execute(asked, [str(it.path)]).fetchone()
        return row is not None and Mark(*row) == it.mark

    def note(self, it: Seen, fate: Fate, words: str = "") -> None:
        """Note what became of a file as it was seen."""
        with self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", [str(it.path), *it.mark, fate.value, words]
            )

    def forget(self, it: Seen) -> None:
        """Forget a file that is gone."""
        with self._db:
            self._db.execute("DELETE FROM files WHERE path = ?", [str(it.path)])


def mark_of(path: Path) -> Mark | None:
    """What the file system says of a file now; None where it is gone."""
    try:
        it = path.stat()
    except OSError:
        return None
    return Mark(it.st_size, it.st_mtime_ns, it.st_ctime_ns, it.st_ino)


class Quiet:
    """Tells which files of a folder have not changed for `seconds`, and were not dealt with."""

    def __init__(self, folder: Path, memory: Memory, seconds: float) -> None:
        self._folder, self._memory, self._seconds = folder, memory, seconds
        self._since: dict[Path, tuple[Mark, float]] = {}

    def look(self, now: float) -> Iterator[Seen]:
        """Those that are ready at `now`, in seconds of any clock that only goes on. ConfigError: no such folder."""
        marks = {path: mark for path in containers.paths(self._folder) if (mark := mark_of(path)) and mark.size}
        self._since = {path: it for path, it in self._since.items() if path in marks}
        for path, mark in marks.items():
            before, since = self._since.get(path, (None, now))
            if before != mark:
                self._since[path] = mark, now
                since = now
            seen = Seen(path, mark)
            if now - since >= self._seconds and not self._memory.known(seen):
                yield seen
