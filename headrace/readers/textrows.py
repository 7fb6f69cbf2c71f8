"""Lines of delimited text become rows: cut by vectors where a line is as it should be, one by one where it is not."""

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from headrace.readers.base import SHOWN, LeftOut
from headrace.readers.dialects import BLANKS
from headrace.readers.textlayout import Layout
from headrace.readers.textlines import CUT, LONGEST
from headrace.readers.textvectors import Ints, Lines, has_edge_blanks, single_tabs, trimmed

csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
AHEAD = 100  # lines in which a quote is to be closed
TOO_FEW, TOO_MANY = "too few cells", "too many cells"
BLANK, EMPTY = "a blank line", "a row without a value"
UNENDED = "the last line is without its end: is the file still being written?"
QUOTE, NULS = "a quote that is not closed", "NUL bytes"
NO_TEXT, TOO_LONG = "bytes that are not text of the file's encoding", "longer than 16 MiB"
AGAIN, COMMENT = "the header again", "a comment"
_UNUSED = "\x1f"  # stands for the delimiter where the file is one column


class Rows(NamedTuple):
    """Rows that follow one another, and those left out among and after them."""

    numbers: Ints
    lines: Ints  # at which each begins in the file, from 1
    columns: tuple[pa.Array, ...]
    left_out: list[LeftOut]


class _Cut(NamedTuple):
    """What one odd line is: a row in other bytes, or left out; `lines`: how many it takes."""

    row: bytes | None
    reason: str
    lines: int = 1


class Cutter:
    """Cuts blocks of lines, one after the other, into rows. The numbers do not depend on where a block ends."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._delimiter = "\t" if layout.delimiter == BLANKS else layout.delimiter or _UNUSED
        again = layout.again if layout.delimiter != BLANKS else "\t".join(layout.again.split())
        self._again = again.encode()
        self._width = layout.raw
        self._skip = layout.skip
        self._line = 1  # of the next block's first line
        self._row = 0
        self._rest = b""

    def cut(self, block: bytes, *, last: bool, line: int = 0) -> Rows:
        """The rows of a block. Lines that need those after them wait for the next block.

        `line`: the number of its first line, where it does not follow the last block.
        """
        if line and not self._rest:
            self._line = line
        data, self._rest = self._rest + block, b""
        unended = last and bool(data) and not data.endswith(b"\n")
        if unended:
            data += b"\n"
        while self._skip and data:
            data = data[data.index(b"\n") + 1 :]
            self._skip -= 1
            self._line += 1
        if not data:
            return Rows(np.zeros(0, np.int64), np.zeros(0, np.int64), self._parse(b"", 0), [])
        if self._layout.delimiter == BLANKS:
            data = single_tabs(data)
        lines = Lines(data, self._delimiter, self._width)
        odd = lines.odd(self._again)
        if unended:
            odd[-1] = True
        return self._rows(lines, np.flatnonzero(odd), last=last, unended=unended)

    def _rows(self, lines: Lines, odd: Ints, *, last: bool, unended: bool) -> Rows:
        pieces, left, done = [], [], 0  # `done`: lines that are dealt with
        begins, good = np.ones(lines.count, np.bool_), np.ones(lines.count, np.bool_)
        out: list[tuple[int, str, str]] = []
        stop = lines.count
        for i in odd.tolist():
            if i < done:
                continue
            cut = self._odd(lines, i, last=last, unended=unended)
            if cut is None:  # the quote may be closed in the next block
                stop = i
                self._rest = lines.data[lines.begin(i) :]
                break
            pieces.append(lines.data[lines.begin(done) : lines.begin(i)])
            begins[i + 1 : i + cut.lines] = False
            if cut.row is None:
                out.append((i, cut.reason, lines.text(i)))
                good[i : i + cut.lines] = False
            else:
                pieces.append(cut.row)
            done = i + cut.lines
        pieces.append(lines.data[lines.begin(done) : lines.begin(stop)])
        clean = b"".join(pieces) if len(pieces) > 1 else pieces[0]
        ordinals = self._row + np.cumsum(begins[:stop], dtype=np.int64) - 1
        for i, reason, text in out:
            left.append(LeftOut(int(ordinals[i]), f"line {self._line + i}", reason, text))
        kept = np.flatnonzero(begins[:stop] & good[:stop])
        numbers, places = ordinals[kept], kept + self._line
        self._row = int(ordinals[-1]) + 1 if stop else self._row
        self._line += stop
        return self._checked(numbers, places, self._parse(clean, len(kept)), left)

    def _checked(self, numbers: Ints, places: Ints, cells: tuple[pa.Array, ...], left: list[LeftOut]) -> Rows:
        """Without the rows that have no value, or one beyond the last column."""
        wide = len(self._layout.columns)
        drop: dict[int, str] = {}
        for column in cells[wide:]:
            if column.null_count < len(column):
                drop.update(dict.fromkeys(_places(pc.is_valid(column)), TOO_MANY))
        if all(it.null_count for it in cells[:wide]):
            empty = cells[0].is_null()
            for column in cells[1:]:
                empty = pc.and_(empty, column.is_null())
            reason = EMPTY if self._width > 1 else BLANK
            drop.update(dict.fromkeys(_places(empty), reason))
        if not drop:
            return Rows(numbers, places, cells[:wide], left)
        mark = " " if self._layout.delimiter == BLANKS else self._delimiter
        for i, reason in drop.items():
            text = mark.join(it[i].as_py() or "" for it in cells)[:SHOWN]
            left.append(LeftOut(int(numbers[i]), f"line {places[i]}", reason, text))
        left.sort(key=lambda it: it.number)
        keep = np.ones(len(numbers), np.bool_)
        keep[list(drop)] = False
        mask = pa.array(keep)
        return Rows(numbers[keep], places[keep], tuple(it.filter(mask) for it in cells[:wide]), left)

    def _parse(self, data: bytes, rows: int) -> tuple[pa.Array, ...]:
        """The cells of rows that all have the same number of them, without blanks around; null where nothing stands."""
        names = [str(i) for i in range(self._width)]
        if not rows:
            return tuple(pa.nulls(0, pa.string()) for _ in names)
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(use_threads=False, column_names=names, block_size=len(data) + 1),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._delimiter,
                quote_char='"' if b'"' in data else False,
                newlines_in_values=True,
                ignore_empty_lines=False,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
                check_utf8=False,
            ),
        ).combine_chunks()
        if table.num_rows != rows:  # a fault of ours: rows would get the numbers of others
            raise AssertionError(f"{table.num_rows} rows of {rows} lines")
        cells = [it.chunk(0) for it in table.columns]
        return tuple(trimmed(it) for it in cells) if has_edge_blanks(data, ord(self._delimiter)) else tuple(cells)

    def _odd(self, lines: Lines, i: int, *, last: bool, unended: bool) -> _Cut | None:
        """What a line is that is not simply a row. None where the lines after it are needed, and are not here."""
        line, end = lines.line(i), unended and i == lines.count - 1
        if len(line) > LONGEST or line.endswith(CUT):
            return _Cut(None, TOO_LONG)
        if b"\0" in line:
            return _Cut(None, NULS)
        if not line.strip(b" \t"):
            return _Cut(None, BLANK)
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return _Cut(None, NO_TEXT)
        if line == self._again:
            return _Cut(None, AGAIN)
        if '"' not in text:
            return self._judged(text.split(self._delimiter), text, 1, end=end)
        cells, taken = _quoted(text, self._delimiter), 1
        if cells is None:  # the cell may go on in the next lines
            whole = min(AHEAD, lines.count - i)
            if whole < AHEAD and not last:
                return None
            more = (lines.text(k, whole=True) for k in range(i + 1, i + whole))
            cells, taken = _over_lines(chain((text + "\n",), more), self._delimiter)
            if cells is None or len(cells) != self._width:
                return _Cut(None, UNENDED if end else QUOTE)
        return self._judged(cells, text, taken, end=end or (unended and i + taken == lines.count))

    def _judged(self, cells: list[str], text: str, taken: int, *, end: bool) -> _Cut:
        """Whether there are as many cells as columns; a last line without its end may have been cut in the last one."""
        wide = len(self._layout.columns)
        if any(it.strip(" \t") for it in cells[self._width :]):
            return _Cut(None, TOO_MANY, taken)
        if end and (len(cells) < wide or (len(cells) == wide and not cells[-1].strip())):
            return _Cut(None, UNENDED, taken)
        if len(cells) < wide:
            return _Cut(None, COMMENT if text.lstrip().startswith("#") else TOO_FEW, taken)
        cells = [*cells[: self._width], *[""] * (self._width - len(cells))]
        line = io.StringIO()
        csv.writer(line, delimiter=self._delimiter, lineterminator="\n").writerow([it.strip(" \t") for it in cells])
        return _Cut(line.getvalue().encode(), "", taken)


def _places(flags: pa.BooleanArray) -> list[int]:
    found: list[int] = np.flatnonzero(flags.to_numpy(zero_copy_only=False)).tolist()
    return found


def _quoted(text: str, delimiter: str) -> list[str] | None:
    """The cells of a line with quotes. None where one is not closed in it, or something else than an end follows it."""
    for line in (text, re.sub(rf'"[ \t]+(?={re.escape(delimiter)}|$)', '"', text)):
        try:
            return next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True))
        except csv.Error:
            continue
    return None


def _over_lines(lines: Iterator[str], delimiter: str) -> tuple[list[str] | None, int]:
    """The cells of a row that goes over several lines, and how many. None where its quote is never closed."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        return next(reader), reader.line_num
    except csv.Error:
        return None, 1
