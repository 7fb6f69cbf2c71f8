"""The bytes of a file for the readers: as they are, or as they are within a gzip file."""

import gzip
import io
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from headrace.errors import ConfigError

HEAD = 64 * 1024  # bytes that recognise a format
_BLOCK = 1024 * 1024
_GZIP = b"\x1f\x8b"
_ENDINGS = (
    ".gz", ".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".senml", ".sensml", ".parquet", ".arrow", ".arrows",
    ".ipc", ".feather", ".wav", ".edf", ".bdf", ".gt3x",
)  # fmt: skip


class Source:
    """A file to read: `with Source(path) as it`. A gzip file is known by its first bytes, whatever its name.

    `at`: where its bytes lie, if not at `path`, by which people know it: of a member of a zip file, a copy.
    """

    def __init__(self, path: Path, at: Path | None = None) -> None:
        self.path = path
        self.at = at or path
        self._temporary: tempfile._TemporaryFileWrapper[bytes] | None = None
        self._raw: list[BinaryIO] = []
        try:
            self.size = self.at.stat().st_size
            with self.at.open("rb") as file:
                self.packed = file.read(2) == _GZIP
        except OSError as e:
            raise ConfigError(f"{path}: {'no such file' if isinstance(e, FileNotFoundError) else e.strerror}") from None

    @property
    def name(self) -> str:
        """The file's name, without .gz."""
        name = self.path.name
        return name[:-3] if name.lower().endswith(".gz") else name

    @property
    def done(self) -> int:
        """Bytes, of `size`, that the last stream has read."""
        return self._raw[-1].tell() if self._raw and not self._raw[-1].closed else self.size

    def stream(self) -> BinaryIO:
        """The unpacked bytes from the beginning. Reading raises OSError or EOFError where the gzip file is broken."""
        raw = self.at.open("rb")
        self._raw.append(raw)
        return cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if self.packed else raw

    def head(self) -> bytes:
        """The first bytes, HEAD at most. ConfigError where the gzip file is broken."""
        with self.stream() as it:
            try:
                return it.read(HEAD)
            except (OSError, EOFError) as e:
                raise broken(self.path, e) from None

    def whole(self) -> Path:
        """A path at which the unpacked bytes lie, for readers that jump about: the file itself, or a temporary one."""
        if not self.packed:
            return self.at
        if self._temporary is None:
            self._temporary = tempfile.NamedTemporaryFile(prefix="headrace-", suffix=Path(self.name).suffix)  # noqa: SIM115 - closed with the source
            with self.stream() as it:
                try:
                    while block := it.read(_BLOCK):
                        self._temporary.write(block)
                except (OSError, EOFError) as e:
                    raise broken(self.path, e) from None
            self._temporary.flush()
        return Path(self._temporary.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, it: BaseException | None, at: TracebackType | None) -> None:
        for raw in self._raw:
            raw.close()
        if self._temporary is not None:
            self._temporary.close()


def broken(path: Path, error: Exception) -> ConfigError:
    """The error for a file that can't be unpacked to its end."""
    if isinstance(error, gzip.BadGzipFile | EOFError | io.UnsupportedOperation):
        return ConfigError(f"{path}: a broken gzip file: {error}. Copy it again from where it was made")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return ConfigError(f"{path}: {reason}")


def stem(name: str) -> str:
    """A file's name, without folders, .csv, .csv.gz and the like: a device may be called after it."""
    name = name.rpartition("/")[2]
    while name.lower().endswith(_ENDINGS):
        name = name.rpartition(".")[0]
    return name
