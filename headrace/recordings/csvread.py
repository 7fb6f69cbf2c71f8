"""CSV files as they are found: gzip, byte-order marks, CRLF, several delimiters, empty columns, blank rows."""

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

from headrace.errors import ConfigError

DELIMITERS = ",;\t|"
MAX_CELL = 16 * 1024 * 1024  # characters; a waveform may be one cell
_SUFFIXES = (".gz", ".csv", ".tsv", ".txt")


@dataclass
class Table:
    """One file while it is read.

    `left_out`: by reason, how many rows were not passed on. `first`: by reason, the first such line.
    """

    path: Path
    delimiter: str
    columns: tuple[str, ...]  # by position; "" where the column has no name
    encoding: str
    left_out: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)
    _raw: BinaryIO | None = None

    @property
    def size(self) -> int:
        """Bytes of the file on disk."""
        return self.path.stat().st_size

    @property
    def position(self) -> int:
        """Bytes read so far, of `size`."""
        return self._raw.tell() if self._raw is not None and not self._raw.closed else 0

    def omit(self, line: int, reason: str) -> None:
        """Count a row that is not passed on."""
        self.left_out[reason] += 1
        self.first.setdefault(reason, line)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line number, cells) of each row after the header. Leaves out blank, too short and too long rows."""
        width = len(self.columns)
        named = max(i for i, name in enumerate(self.columns) if name) + 1
        with self.path.open("rb") as raw:
            self._raw = raw
            reader = csv.reader(_text(raw, self.path, self.encoding), delimiter=self.delimiter)
            try:
                next(reader)
                for row in reader:
                    if any(row) and (len(row) == width or self._fits(reader.line_num, row, named)):
                        yield reader.line_num, row
                    elif not any(row):
                        self.omit(reader.line_num, "blank")
            except (OSError, EOFError, UnicodeDecodeError, csv.Error) as e:
                raise _unreadable(self.path, e, reader.line_num) from None

    def _fits(self, line: int, row: list[str], named: int) -> bool:
        if len(row) < named:
            self.omit(line, "fewer cells than columns")
            return False
        if any(cell.strip() for cell in row[len(self.columns) :]):
            self.omit(line, "more cells than columns")
            return False
        return True


def open_table(path: Path, *, delimiter: str | None = None, encoding: str = "utf-8-sig") -> Table:
    """The file with its header read. ConfigError: it is missing or unreadable, or its header can't be used."""
    csv.field_size_limit(MAX_CELL)
    try:
        with path.open("rb") as raw:
            text = _text(raw, path, encoding)
            first = text.readline()
            delimiter = delimiter or sniff(first)
            names = next(csv.reader(_lines(first, text), delimiter=delimiter), [])
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as e:
        raise _unreadable(path, e, 1) from None
    columns = tuple(name.strip() for name in names)
    if not any(columns):
        raise ConfigError(f"{path}: the first line must name the columns, and it is empty")
    twice = [name for name, n in Counter(filter(None, columns)).items() if n > 1]
    if twice:
        raise ConfigError(f"{path}: two columns are called {', '.join(twice)}: rename one")
    return Table(path, delimiter, columns, encoding)


def sniff(header: str) -> str:
    """The delimiter of a header line: the one of DELIMITERS that occurs most outside quotes, else a comma."""
    counts: Counter[str] = Counter()
    quoted = False
    for c in header:
        quoted ^= c == '"'
        if not quoted and c in DELIMITERS:
            counts[c] += 1
    return max(DELIMITERS, key=lambda d: counts[d])


def stem(path: Path) -> str:
    """The file's name without .csv, .csv.gz and the like."""
    name = path.name
    while name.lower().endswith(_SUFFIXES):
        name = name.rpartition(".")[0]
    return name


def _text(raw: BinaryIO, path: Path, encoding: str) -> TextIO:
    data = gzip.GzipFile(fileobj=raw) if path.name.lower().endswith(".gz") else raw
    return io.TextIOWrapper(data, encoding=encoding, newline="")


def _lines(first: str, rest: TextIO) -> Iterator[str]:
    yield first
    yield from rest


def _unreadable(path: Path, error: Exception, line: int) -> ConfigError:
    if isinstance(error, UnicodeDecodeError):
        return ConfigError(f"{path}, after line {line}: not {error.encoding}. Name its encoding: --encoding latin-1")
    if isinstance(error, gzip.BadGzipFile | EOFError):
        return ConfigError(f"{path}, after line {line}: a broken gzip file: {error}")
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return ConfigError(f"{path}, after line {line}: {reason}")
