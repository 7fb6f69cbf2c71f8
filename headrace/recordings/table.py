"""A recording of text in columns, row by row. What it is, is found by headrace/readers/delimited.py: docs/files.md."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.errors import ConfigError
from headrace.readers import delimited
from headrace.readers.formats import recognise
from headrace.readers.source import Source


@dataclass
class Table:
    """One file while it is read.

    `left_out`: by reason, how many rows were not passed on. `first`: by reason, the first such line.
    """

    path: Path
    dialect: Mapping[str, str]
    columns: tuple[str, ...]  # by position; "" where the column has no name
    notes: tuple[str, ...]  # for people: what was passed over, or guessed
    left_out: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)
    position: int = 0  # bytes read so far, of `size`

    @property
    def size(self) -> int:
        """Bytes of the file on disk."""
        return self.path.stat().st_size

    @property
    def decimal_comma(self) -> bool:
        """Whether its numbers are written as 1,5."""
        return self.dialect["decimal"] == ","

    def omit(self, line: int, reason: str) -> None:
        """Count a row that is not passed on."""
        self.left_out[reason] += 1
        self.first.setdefault(reason, line)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line number, cells) of each row after the header. Those that can't be read are left out."""
        with Source(self.path) as source:
            for rows in delimited.open_file(source, self.dialect).rows():
                self.position = source.done
                cells = (it.fill_null("").to_pylist() for it in rows.columns)
                for line, *row in zip(rows.lines.tolist(), *cells, strict=True):
                    yield line, row
                for out in rows.left_out:
                    self.omit(int(out.place.removeprefix("line ")), out.reason)


def open_table(path: Path, options: Mapping[str, str] | None = None) -> Table:
    """The file with its header read. ConfigError: it is missing or unreadable, or its header can't be used.

    `options`: those of text in columns, where what is found is not right.
    """
    with Source(path) as source:
        if (kind := recognise(source)) != "csv":
            raise ConfigError(f"{path}: {kind}. Only CSV and other text in columns can be played")
        reader = delimited.open_file(source, options or {})
        if len(reader.tables) > 1:
            names = ", ".join(it.name for it in reader.tables)
            raise ConfigError(f"{path}: several tables ({names}). Make a file of each")
        table, dialect = reader.tables[0], reader.dialect
    columns = tuple(it.name for it in table.columns)
    if dialect["header"] == "none":
        raise ConfigError(
            f"{path}: no line that names the columns is found. Write one before the rows, such as time,ax,ay,az; "
            "or, if there is one, say which line it is: --header 1"
        )
    if not any(columns):
        raise ConfigError(f"{path}: line {dialect['header']} must name the columns, and it is empty")
    twice = [name for name, n in Counter(filter(None, columns)).items() if n > 1]
    if twice:
        raise ConfigError(f"{path}: two columns are called {', '.join(twice)}: rename one")
    return Table(path, dialect, columns, table.notes)
