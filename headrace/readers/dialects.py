"""Which dialect of delimited text a file is, found in its first lines."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from headrace.readers.textcells import has_no_value, is_typed

DELIMITERS = ("\t", ";", "|", ",")
BLANKS = " "  # as a delimiter: runs of blanks and tabs
NONE = ""  # as a delimiter: the file is one column
SAMPLE = 400  # lines that are looked at


class Line(NamedTuple):
    """A line of the head, split into cells."""

    number: int  # from 1
    text: str
    cells: tuple[str, ...]  # without blanks around them, and without empty ones at the end
    raw: int  # cells, with the empty ones at the end

    @property
    def typed(self) -> int:
        """How many of its cells are numbers or times."""
        return sum(is_typed(it) for it in self.cells)


class Body(NamedTuple):
    """What most rows of the file are like."""

    width: int  # cells with something in them, counted up to the last
    raw: int  # cells, with the empty ones at the end
    typed: tuple[bool, ...]  # for each column: whether numbers or times stand there


def split(text: str, delimiter: str) -> list[str]:
    """The cells of a line, without blanks around them."""
    if delimiter == NONE:
        return [text.strip().strip('"').strip()]
    if delimiter == BLANKS:
        text, delimiter = " ".join(text.split()), " "
    try:
        found = next(csv.reader([text], delimiter=delimiter, skipinitialspace=True), [""])
    except csv.Error:  # a cell that is too long
        found = text.split(delimiter)
    return [it.strip() for it in found] or [""]


def lines_of(head: Sequence[str], delimiter: str) -> list[Line]:
    """The first lines, split."""
    found = []
    for i, text in enumerate(head):
        cells = split(text, delimiter)
        raw = len(cells)
        while len(cells) > 1 and not cells[-1]:
            cells.pop()
        found.append(Line(i + 1, text, tuple(cells), raw))
    return found


def sep_line(text: str) -> str | None:
    """The delimiter that a line `sep=;` names: programs write it for Excel. None if it is no such line."""
    word = text.strip(' "\ufeff')  # a tab at the end is the delimiter
    while word and word[-1] in ",;" and len(word) > 5:
        word = word[:-1]
    if word[:4].lower() != "sep=" or len(word) != 5:
        return "\t" if word.lower() in {"sep=\\t", "sep=tab"} else None
    return word[4]


def delimiter_of(head: Sequence[str]) -> str:
    """The delimiter that splits most lines into the same number of cells, of which most are numbers or times."""
    best, delimiter = 0.0, NONE
    for candidate in (*DELIMITERS, BLANKS):
        score = _score(lines_of(head, candidate), candidate)
        if score > best + 0.02:  # the order of DELIMITERS decides where two are as good
            best, delimiter = score, candidate
    return delimiter


def _score(lines: Sequence[Line], delimiter: str) -> float:
    given = [it for it in lines if it.text.strip()]
    body = body_of(given)
    if body is None or body.raw < 2:
        return 0.0
    first = next(i for i, it in enumerate(given) if it.raw == body.raw or len(it.cells) == body.width)
    rows = [it for it in given[first:] if it.raw == body.raw or len(it.cells) == body.width]
    share = len(rows) / len(given[first:])
    if share < 0.5:
        return 0.0
    cells = [cell for it in (rows[1:] or rows)[-50:] for cell in it.cells if cell]  # the first may be the header
    typed = sum(is_typed(it) or has_no_value(it) for it in cells) / max(1, len(cells))
    if delimiter == BLANKS and typed < 0.5:  # sentences
        return 0.0
    return share * (0.1 + typed) * (0.6 + 0.4 * len(rows) / len(given))


def body_of(lines: Iterable[Line]) -> Body | None:
    """What most lines with numbers or times are like; of all lines, where none has one."""
    given = [it for it in lines if it.text.strip()]
    rows = [it for it in given if it.typed] or given
    if not rows:
        return None
    weights: Counter[int] = Counter()
    for it in rows:
        weights[it.raw] += 1 + 3 * (it.raw > 1 and it.typed * 2 > len(it.cells))
    raw = max(weights, key=lambda it: (weights[it], it))
    same = [it for it in rows if it.raw == raw]
    same = same[len(same) // 2 :]  # lines before the rows may look like some
    width = max(len(it.cells) for it in same)
    typed = []
    for i in range(width):
        cells = [it.cells[i] for it in same if i < len(it.cells) and not has_no_value(it.cells[i])]
        typed.append(bool(cells) and sum(map(is_typed, cells)) * 2 > len(cells))
    return Body(width, raw, tuple(typed))


def is_header(line: Line, body: Body) -> bool:
    """Whether words stand in the line where the rows have numbers or times."""
    if not line.text.strip() or (body.width > 1 and len(line.cells) < 2):
        return False
    if len(line.cells) * 2 < body.width or line.raw > body.raw + 1:
        return False
    places = [i for i, typed in enumerate(body.typed) if typed and i < len(line.cells) and line.cells[i]]
    return bool(places) and sum(not is_typed(line.cells[i]) for i in places) * 2 > len(places)


def is_row(line: Line, body: Body) -> bool:
    """Whether the line is like the rows: numbers and times where they have them."""
    if line.raw != body.raw and len(line.cells) != body.width:
        return False
    places = [i for i, typed in enumerate(body.typed) if typed and i < len(line.cells)]
    good = sum(is_typed(line.cells[i]) or has_no_value(line.cells[i]) for i in places)
    return bool(places) and good * 2 > len(places) and any(line.cells)
