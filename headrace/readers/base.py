"""What the readers of files give, whatever the format: tables of rows that are numbered, in batches of bounded size.

A reader says what stands in the file and nothing more: which column is which field, what a time without a zone means,
and whether a value is good, is decided by those who ask (a profile, and the contract).

Numbers of rows are what makes an upload exact: the same bytes, read with the same options, give the same rows under the
same numbers, in each version of Headrace. A row that can't be read has a number too, so those after it keep theirs.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import pyarrow as pa

BATCH_ROWS = 10_000  # at most, about: a batch of wide rows is shorter
SHOWN = 200  # characters of a row that are shown to a person


class Column(NamedTuple):
    """A column as the file has it."""

    name: str  # "" where the file gives it none
    unit: str = ""  # as the file writes it; "" where it says nothing


class Table(NamedTuple):
    """A table of a file, before its rows are read."""

    name: str  # of the sheet, the data set, the group; "" where the file is one table
    columns: tuple[Column, ...]
    start: datetime | None = None  # of row 0, where the format says so; without a zone where it says none
    rate: float | None = None  # rows a second, where the format says so: row i is at start + i / rate
    rows: int | None = None  # where they are known before they are read
    notes: tuple[str, ...] = ()  # for people: what was passed over, such as "2 lines before the header"


class LeftOut(NamedTuple):
    """A row that could not be read, or is no reading: a blank line, a second header."""

    number: int
    place: str  # where it stands: "line 12", "row 7 of the sheet"
    reason: str  # a few words, the same for all rows of the kind: they are counted by it
    text: str  # the beginning of the row, SHOWN characters at most


class Batch(NamedTuple):
    """Rows of a table that follow one another."""

    numbers: pa.Int64Array  # of each row in the table, from 0, ascending
    rows: pa.RecordBatch  # the table's columns in their order, named "0", "1" and so on; null: nothing stands there
    left_out: tuple[LeftOut, ...]  # those among and after these rows
    done: int  # bytes of the file that are read by now, compressed as it lies; for the progress bar


class Reader(Protocol):
    """An open file. `options` that it was opened with, and those that it found itself, are in `dialect`."""

    @property
    def dialect(self) -> dict[str, str]:
        """All options, by name, that open the file again in the same way; what a profile keeps."""

    @property
    def tables(self) -> Sequence[Table]:
        """The file's tables, at least one."""

    def batches(self, table: int = 0) -> Iterator[Batch]:
        """The rows of a table in the file's order. ConfigError, which names the place, where the file is broken.

        All rows before the broken place come first. A text column is text as it stands, without blanks around it.
        """

    def close(self) -> None:
        """Give back what is open."""
