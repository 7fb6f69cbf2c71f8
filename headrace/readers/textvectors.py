"""A block of lines as vectors: where lines, delimiters and quotes are, and which lines are not as they should be."""

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.readers.base import SHOWN
from headrace.readers.textlines import LONGEST

_LF, _QUOTE, _BLANK, _TAB = 10, 34, 32, 9

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Lines:
    """A block of whole lines, and where they and their delimiters are."""

    def __init__(self, data: bytes, delimiter: str, width: int) -> None:
        self.data = data
        self._mark, self._width = ord(delimiter), width
        self._values = np.frombuffer(data, np.uint8)
        self._ends = np.flatnonzero(self._values == _LF)
        self.count = len(self._ends)

    def begin(self, i: int) -> int:
        """Where line i begins."""
        return int(self._ends[i - 1]) + 1 if i else 0

    def line(self, i: int) -> bytes:
        """A line, without its end."""
        return self.data[self.begin(i) : int(self._ends[i])]

    def text(self, i: int, *, whole: bool = False) -> str:
        """A line for people, or with its end."""
        if whole:
            return self.line(i).decode(errors="replace") + "\n"
        return self.line(i)[: 4 * SHOWN].decode(errors="replace")[:SHOWN]

    def odd(self, again: bytes) -> Flags:
        """Which lines are to be looked at one by one."""
        marks = np.flatnonzero(self._values == self._mark)
        odd = np.zeros(self.count, np.bool_)
        if b'"' in self.data:
            marks = self._outside_quotes(marks, odd)
        odd |= np.diff(np.searchsorted(marks, self._ends), prepend=0) != self._width - 1
        lengths = np.diff(self._ends, prepend=-1) - 1
        odd |= (lengths == 0) | (lengths > LONGEST)
        if b"\0" in self.data:
            odd |= self._with(self._values == 0)
        if not self.data.isascii():
            try:
                self.data.decode()
            except UnicodeDecodeError:
                odd |= self._with(self._values > 127)
        place = self.data.find(again) if again else -1
        while place >= 0:
            odd[np.searchsorted(self._ends, place)] = True
            place = self.data.find(again, place + len(again))
        return odd

    def _with(self, flags: Flags) -> Flags:
        """Which lines have a byte of those."""
        begins = np.concatenate((np.zeros(1, np.int64), self._ends[:-1] + 1))
        found: Flags = np.logical_or.reduceat(flags, begins)
        return found

    def _outside_quotes(self, marks: Ints, odd: Flags) -> Ints:
        """The delimiters that are not within quotes. Marks the lines of which the quotes are not simply pairs."""
        quotes = np.flatnonzero(self._values == _QUOTE)
        until = np.searchsorted(quotes, self._ends)  # quotes up to each line's end
        before = np.concatenate((np.zeros(1, until.dtype), until[:-1]))
        line = np.repeat(np.arange(self.count), until - before)
        closing = (np.arange(len(quotes)) - before[line]) & 1
        odd |= ((until - before) & 1).astype(np.bool_)
        beside = np.where(closing, self._values[quotes + 1], self._values[quotes - 1])
        beside[(quotes == 0) & (closing == 0)] = _LF
        odd[line[(beside != self._mark) & (beside != _LF) & (beside != _QUOTE)]] = True
        # how many quotes are before each delimiter in its line: counted up over the few quotes, not looked up for each
        passed = np.cumsum(np.bincount(np.searchsorted(marks, quotes), minlength=len(marks) + 1))[: len(marks)]
        until = np.searchsorted(marks, self._ends)
        inside = (passed - np.repeat(before, np.diff(until, prepend=0))) & 1
        outside: Ints = marks[inside == 0]
        return outside


def single_tabs(data: bytes) -> bytes:
    """The data with one tab for each run of blanks, none at the ends of lines. Lines with quotes: one by one."""
    if b'"' in data:
        return b"".join(_quoted_blanks(data))
    values = np.frombuffer(data, np.uint8)
    blank = (values == _BLANK) | (values == _TAB)
    following = np.append(values[1:], _LF)
    keep = ~(blank & ((following == _BLANK) | (following == _TAB) | (following == _LF)))
    values, blank = values[keep], blank[keep]
    values = np.where(blank, np.uint8(_TAB), values)
    previous = np.concatenate((np.array([_LF], np.uint8), values[:-1]))
    found: bytes = values[~((values == _TAB) & (previous == _LF))].tobytes()
    return found


def _quoted_blanks(data: bytes) -> Iterator[bytes]:
    for line in data.splitlines(keepends=True):
        yield b"\t".join(re.findall(rb'"[^"\n]*"|[^\s"]+|"', line)) + b"\n"


_EDGES = np.zeros(256, np.bool_)
_EDGES[[_LF, _QUOTE, _BLANK, _TAB]] = True


def has_edge_blanks(data: bytes, mark: int) -> bool:
    """Whether a blank stands at the beginning or the end of a cell."""
    values = np.frombuffer(data, np.uint8)
    blank = values == _BLANK
    if mark != _TAB:
        blank |= values == _TAB
    places = np.flatnonzero(blank)
    if not len(places):
        return False
    edges = _EDGES.copy()
    edges[mark] = True
    if places[0] == 0:
        return True
    return bool(edges[values[places - 1]].any() or edges[values[places + 1]].any())


def trimmed(column: pa.Array) -> pa.Array:
    """The cells without blanks around them; null where nothing is left."""
    column = pc.ascii_trim(column, " \t")
    full = pc.cast(pc.binary_length(column), pa.bool_())  # not equal(column, ""): a scalar would import pandas
    return column if pc.all(full).as_py() else pc.if_else(full, column, pa.nulls(len(column), pa.string()))
