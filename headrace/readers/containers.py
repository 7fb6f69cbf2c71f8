"""The files in a zip file or a folder, one after the other in one order: by their names.

A member of a zip file is copied to a temporary file while it is read, so that a reader may jump about in it.
"""

import lzma
import os
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from headrace.errors import ConfigError
from headrace.readers.source import Source

MAX_FILES = 100_000
MAX_SIZE = 32 * 1024**3  # bytes of a member, unpacked
MAX_RATIO = 500  # unpacked to packed, where that is more than RATIO_FROM bytes; readings have 3 to 100
RATIO_FROM = 100 * 1024**2
_HIDDEN = {"__macosx", "thumbs.db", "desktop.ini"}
_UNFINISHED = re.compile(r"^~\$|(~|\.(tmp|part|partial|crdownload|filepart))$", re.IGNORECASE)
_PACKED = re.compile(r"\.(7z|rar|tar|tar\.\w+|tgz)$", re.IGNORECASE)
_DOCUMENTS = {"[Content_Types].xml", "mimetype", "log.bin", "activity.bin"}
_BROKEN = (  # what zipfile raises for broken files
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, IndexError, RuntimeError, ValueError,
)  # fmt: skip
_ZIP = (b"PK\3\4", b"PK\5\6")


class File(Protocol):
    """A file that was found."""

    @property
    def name(self) -> str:
        """Its path within the folder or zip file, with slashes."""

    @property
    def size(self) -> int:
        """Its bytes, unpacked where it is a member of a zip file."""

    def open(self) -> AbstractContextManager[Source]:
        """`with file.open() as source`. ConfigError where it can't be unpacked."""


class Contents(NamedTuple):
    """What a folder or a zip file has."""

    files: tuple[File, ...]  # by name
    passed: tuple[str, ...]  # for people: what was passed over, and why


def is_container(path: Path) -> bool:
    """Whether it is a folder or a zip file. A workbook is a zip file too, as ActiGraph's is, and none here."""
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            if file.read(4) not in _ZIP:
                return False
        with zipfile.ZipFile(path) as it:
            return not _DOCUMENTS & set(it.namelist())
    except OSError:
        return False
    except _BROKEN:
        return True  # a broken one: `contents` says so


def contents(path: Path) -> Contents:
    """The files of a folder, with those below it, or of a zip file. ConfigError: it can't be read, or has too many."""
    found = _Found(path)
    if path.is_dir():
        found.folder()
    else:
        found.zip(path, "")
    return Contents(tuple(sorted(found.files, key=lambda it: PurePosixPath(it.name).parts)), found.told())


def paths(folder: Path) -> list[Path]:
    """The files of a folder and below it, zip files as they are, without those that `contents` passes over.

    ConfigError: it can't be read, or has too many.
    """
    found = _Found(folder, apart=True)
    found.folder()
    return sorted(it.path for it in found.files if isinstance(it, _OnDisk))


class _OnDisk(NamedTuple):
    name: str
    size: int
    path: Path

    def open(self) -> Source:
        """The file itself."""
        return Source(self.path)


class _Member(NamedTuple):
    """A member of a zip file."""

    name: str
    size: int
    path: Path  # of the zip file
    shown: Path
    info: zipfile.ZipInfo

    @contextmanager
    def open(self) -> Iterator[Source]:
        """A copy, that is gone afterwards."""
        if self.info.flag_bits & 1:
            raise ConfigError(f"{self.shown}: encrypted. Unpack the zip file with its password, and give the folder")
        if self.size > RATIO_FROM and self.size > MAX_RATIO * self.info.compress_size:
            words = f"unpacks to {self.size:,} bytes, more than {MAX_RATIO} times its size, as no readings do"
            raise ConfigError(f"{self.shown}: {words}. If these do, unpack it, and give the folder")
        with tempfile.NamedTemporaryFile(prefix="headrace-") as copy:
            place = Path(copy.name).parent
            room = min(MAX_SIZE, shutil.disk_usage(place).free)
            if self.size > room:
                words = f"{self.size:,} bytes unpacked, and {place} takes {room:,}"
                raise ConfigError(f"{self.shown}: {words}. Set TMPDIR, or unpack it elsewhere, and give the folder")
            try:
                with zipfile.ZipFile(self.path) as packed, packed.open(self.info) as member:
                    shutil.copyfileobj(member, copy, 1024 * 1024)  # no more than `size`: zipfile sees to that
                copy.flush()
            except NotImplementedError:
                words = "packed in a way that is not read. Unpack it, and give the folder"
                raise ConfigError(f"{self.shown}: {words}") from None
            except (*_BROKEN, OSError) as e:
                words = (e.strerror if isinstance(e, OSError) else None) or str(e)
                raise ConfigError(f"{self.shown}: can't be unpacked: {words}. Copy the zip file again") from None
            with Source(self.shown, Path(copy.name)) as it:
                yield it


class _Found:
    """What was found so far."""

    def __init__(self, top: Path, *, apart: bool = False) -> None:
        """`apart`: take a zip file as one file."""
        self.top, self._apart = top, apart
        self.files: list[File] = []
        self._passed: dict[str, list[str]] = {}

    def folder(self) -> None:
        """All below `top`."""

        def fail(e: OSError) -> None:
            raise ConfigError(f"{e.filename}: {e.strerror}") from None

        for folder, folders, files in os.walk(self.top, onerror=fail):
            folders.sort()
            for name in [*folders, *sorted(files)]:
                path = Path(folder, name)
                inner = path.relative_to(self.top).as_posix()
                if name in folders:
                    if self._pass(inner, "links to folders" if path.is_symlink() else ""):
                        folders.remove(name)
                elif self._pass(inner, "" if path.is_file() else "no files"):
                    continue
                elif not self._apart and is_container(path):
                    self.zip(path, f"{inner}/")
                else:
                    self._take(_OnDisk(inner, path.stat().st_size, path))

    def zip(self, path: Path, before: str) -> None:
        """The members of a zip file; their names begin with `before`."""
        try:
            with zipfile.ZipFile(path) as it:
                members = {info.filename: info for info in it.infolist() if not info.is_dir()}  # of copies the last
                copies = sum(not info.is_dir() for info in it.infolist()) - len(members)
        except (*_BROKEN, OSError) as e:
            words = (e.strerror if isinstance(e, OSError) else None) or str(e)
            raise ConfigError(f"{path}: no zip file that can be read: {words}. Copy it again") from None
        size, packed = sum(it.file_size for it in members.values()), path.stat().st_size
        if size > RATIO_FROM and size > MAX_RATIO * packed:
            words = f"it unpacks to {size:,} bytes, more than {MAX_RATIO} times its size, as no readings do"
            raise ConfigError(f"{path}: {words}. If these do, unpack it, and give the folder")
        if copies:
            self._passed.setdefault("older copies of members", []).extend([path.name] * copies)
        for told, info in members.items():
            name = "".join(c if c.isprintable() else "?" for c in told.replace("\\", "/")).strip("/")
            if not self._pass(before + name, "packed files in a zip file" if name.lower().endswith(".zip") else ""):
                self._take(_Member(before + name, info.file_size, path, path / name, info))

    def _take(self, file: File) -> None:
        self.files.append(file)
        if len(self.files) > MAX_FILES:
            raise ConfigError(f"{self.top}: more than {MAX_FILES:,} files: give the folders in it one by one")

    def _pass(self, inner: str, why: str) -> bool:
        """Whether the file or folder is passed over, and noted."""
        parts = inner.split("/")
        if any(part.startswith(".") or part.lower() in _HIDDEN for part in parts):
            why = "hidden files"
        elif _UNFINISHED.search(parts[-1]):
            why = "files that a program is writing"
        elif _PACKED.search(parts[-1]):
            why = "packed files that are not gzip or zip"
        if why:
            self._passed.setdefault(why, []).append(inner)
        return bool(why)

    def told(self) -> tuple[str, ...]:
        """What was passed over, for people."""
        return tuple(f"{why}: {len(names):,}, such as {min(names)}" for why, names in sorted(self._passed.items()))
