"""How a file of delimited text is laid out: found in its first lines, unless options say it."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from headrace.errors import ConfigError
from headrace.readers import textknown as known
from headrace.readers.base import SHOWN, Column
from headrace.readers.dialects import (
    BLANKS,
    NONE,
    SAMPLE,
    Body,
    Line,
    body_of,
    delimiter_of,
    is_header,
    is_row,
    lines_of,
    sep_line,
)
from headrace.readers.textcells import is_unit_row, unit_of
from headrace.readers.textmarks import Marks, marks_of

WORDS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "blanks": BLANKS, "none": NONE}
NO_HEADER = "none"
_PREAMBLE_SHOWN = 12  # lines
_DIGIT = re.compile(r"\d")
_COMMENT = ("#", "%", "//")


class Layout(NamedTuple):
    """Where the rows begin, and what their cells are."""

    delimiter: str
    skip: int  # lines before row 0
    header: int  # the header's line, from 1; 0: there is none
    columns: tuple[Column, ...]
    raw: int  # cells of most rows, with empty ones at the end that are no columns
    marks: Marks
    units: str  # of the row of units: "row", or "none"
    notes: tuple[str, ...]
    again: str = ""  # the header's line: where it occurs again, it is no row
    kind: str = known.PLAIN
    start: datetime | None = None
    rate: float | None = None


def layout_of(text: str, options: Mapping[str, str], *, place: str) -> Layout:
    """The layout of a file that begins with `text`. ConfigError where there is none, or an option is wrong."""
    head = text.split("\n")
    if head and not head[-1]:
        head.pop()
    head = head[:SAMPLE]
    if not any(it.strip() for it in head):
        raise ConfigError(f"{place}: {'an empty file' if not text else 'no line with text in it'}")
    named = sep_line(head[0])
    begin = int(named is not None)
    delimiter = _asked_delimiter(options) if "delimiter" in options else named or delimiter_of(head[begin:])
    lines = lines_of(head, delimiter)[begin:]
    body = body_of([it for it in lines if not _is_comment(it)]) or body_of(lines)
    if body is None:  # only a sep= line
        raise ConfigError(f"{place}: no rows after the first line")
    if body.width == 1 and not any(body.typed) and not options:
        raise ConfigError(f"{place}: lines of words, with no columns found in them. If it has some, name the delimiter")
    kind = options.get("layout", "")
    e4 = known.e4_of(lines) if kind == known.E4 or not (kind or options.get("header")) else None
    header, units, skip = (None, None, e4.skip) if e4 else _header(lines, body, options, place)
    skip = _asked_skip(options, header, place) if "first_row" in options and not e4 else skip
    columns = e4.columns if e4 else _columns(header, units, body)
    found, clock = _clock(e4, head, kind)
    if kind and found != kind:
        raise ConfigError(f"{place}: option layout: the file does not begin as those of {kind} do")
    rows = [it for it in lines if it.number > skip]
    marks = marks_of((cell for it in rows for cell in it.cells), delimiter)
    said = Marks(options.get("decimal", marks.decimal), options.get("thousands", marks.thousands))
    marks = marks if said == marks._replace(note="") else said
    if marks.thousands == marks.decimal:
        raise ConfigError(f"option thousands: {marks.thousands!r} is the decimal mark. Give both")
    before = head[begin : (header.number if header else skip + 1) - 1]
    return Layout(
        delimiter=delimiter,
        skip=skip,
        header=header.number if header else 0,
        columns=columns,
        raw=max(body.raw, len(columns)),
        marks=marks,
        units="row" if units else "none",
        notes=(
            *(() if e4 else _notes(before, header, units)),
            *([marks.note] if marks.note else ["numbers have a decimal comma"] if marks.decimal == "," else []),
            *clock.notes,
            *known.zone_note(columns),
        ),
        again=header.text if header else "",
        kind=found,
        start=clock.start,
        rate=clock.rate,
    )


def _clock(e4: known.E4File | None, head: Sequence[str], kind: str) -> tuple[str, known.Clock]:
    """The kind of layout, and what it says of time."""
    if e4:
        return known.E4, e4.clock
    if kind in ("", known.ACTIGRAPH) and known.is_actigraph(head):
        return known.ACTIGRAPH, known.actigraph_clock(head)
    if kind in ("", known.PACKETS) and head[0].startswith(known.PACKET_HEADER):
        return known.PACKETS, known.packets_clock()
    return known.PLAIN, known.Clock()


def _asked_delimiter(options: Mapping[str, str]) -> str:
    word = options["delimiter"]
    found = WORDS.get(word, word)
    if len(found) > 1 or (word and found == '"') or found in ("\n", "\r"):
        raise ConfigError(f"option delimiter: {word!r} is no single character, and none of {', '.join(WORDS)}")
    return found


def _asked_skip(options: Mapping[str, str], header: Line | None, place: str) -> int:
    word, least = options["first_row"], header.number if header else 0
    if not word.isdigit() or int(word) <= least:
        raise ConfigError(f"{place}: option first_row: {word!r} is no line after line {least}")
    return int(word) - 1


def _is_comment(line: Line) -> bool:
    return line.text.lstrip().startswith(_COMMENT) and line.text.lstrip()[1:2] not in (",", ";", "\t", "|")


def _header(
    lines: Sequence[Line], body: Body, options: Mapping[str, str], place: str
) -> tuple[Line | None, Line | None, int]:
    """The header, the row of units, and how many lines are before the first row."""
    asked = options.get("header", "")
    if asked and asked != NO_HEADER:
        chosen = [it for it in lines if str(it.number) == asked]
        if not chosen:
            words = f"{asked!r} is no line among the first {len(lines)}, and not {NO_HEADER!r}"
            raise ConfigError(f"{place}: option header: {words}")
        after = [it for it in lines if it.number > chosen[0].number]
        begin = options.get("first_row", "")
        after = [it for it in after if it.number < int(begin)] if begin.isdigit() else after[:1]
        header = _without_mark(chosen[0]) if _is_comment(chosen[0]) else chosen[0]
        return _with_units(header, after, options)
    first = _first_row(lines, body)
    if asked:
        return None, None, first
    if not any(body.typed):
        given = [it for it in lines if it.text.strip() and not _is_comment(it) and len(it.cells) == body.width]
        found = (given or lines)[0]
        if _is_like(found, given[1:]):
            return None, None, found.number - 1
        return _with_units(found, [it for it in lines if it.number > found.number][:1], options)
    last = _last_header(lines, body)
    if last is None:
        return _comment_header(lines, body, first)
    group = [lines[last]]
    while (i := last - len(group)) >= 0 and is_header(lines[i], body) and not _is_comment(lines[i]):
        group.insert(0, lines[i])
    units_at = next((i for i, it in enumerate(group) if i and is_unit_row(it.cells)), 0)
    best = group[units_at - 1] if units_at else max(group, key=lambda it: len({cell for cell in it.cells if cell}))
    header, units, _ = _with_units(best, [it for it in group if it.number > best.number], options)
    return header, units, lines[last].number


def _with_units(header: Line, after: Sequence[Line], options: Mapping[str, str]) -> tuple[Line, Line | None, int]:
    """The header, and the row of units if one of those after it is that."""
    units = next((it for it in after if is_unit_row(it.cells) and len(it.cells) <= max(2, len(header.cells))), None)
    if options.get("units") == "none" or (units and len(after) == 1 and len(header.cells) == 1 and header.raw > 1):
        units = None
    return header, units, (units or header).number


def _is_like(first: Line, rows: Sequence[Line]) -> bool:
    """Whether the first of lines of words is one of them: digits stand where most of the others have digits."""
    for i, cell in enumerate(first.cells):
        others = [it.cells[i] for it in rows if i < len(it.cells)]
        if _DIGIT.search(cell) and sum(_DIGIT.search(it) is not None for it in others) * 10 > len(others) * 9:
            return True
    return False


def _comment_header(lines: Sequence[Line], body: Body, first: int) -> tuple[Line | None, None, int]:
    """The header where it stands in the last comment before the rows: "# time x y", as NumPy writes it."""
    for it in lines:
        if it.number == first and _is_comment(it):
            plain = _without_mark(it)
            if len(plain.cells) == body.width and is_header(plain, body):
                return plain, None, first
    return None, None, first


def _without_mark(line: Line) -> Line:
    """A comment's cells without the mark of the comment."""
    cells = tuple(cell for cell in (line.cells[0].lstrip("#%/ "), *line.cells[1:]) if cell)
    return line._replace(cells=cells, raw=len(cells))


def _first_row(lines: Sequence[Line], body: Body) -> int:
    """Lines before the first one that is like the rows."""
    words = not any(body.typed)
    for it in lines:
        fits = len(it.cells) == body.width and it.text.strip() if words else is_row(it, body)
        if fits and not _is_comment(it):
            return it.number - 1
    return lines[0].number - 1


def _last_header(lines: Sequence[Line], body: Body) -> int | None:
    """The index of the header's last line: words, then rows. Where several are so, the one before most rows."""
    runs: list[tuple[int, int]] = []  # how many rows follow a header, and its index
    for i, line in enumerate(lines):
        if _is_comment(line) or not line.text.strip():
            continue
        if is_header(line, body):
            runs.append((0, i))
        elif is_row(line, body) and runs:
            runs[-1] = (runs[-1][0] + 1, runs[-1][1])
    runs = [it for it in runs if it[0]]
    if not runs:
        only = [i for i, it in enumerate(lines) if is_header(it, body) and not _is_comment(it)]
        return only[0] if only else None
    found = next((i for count, i in runs if count >= 3), max(runs)[1])
    before = sum(is_row(it, body) and not _is_comment(it) for it in lines[:found])
    after = sum(is_row(it, body) and not _is_comment(it) for it in lines[found:])
    if before and (all(body.typed) or before >= after):  # rows stand before it: a row that went wrong, and no header
        return None
    return found


def _columns(header: Line | None, units: Line | None, body: Body) -> tuple[Column, ...]:
    if header is None:
        return tuple(Column(f"column {i + 1}") for i in range(body.width))
    found = []
    for i in range(max(body.width, len(header.cells))):
        name = header.cells[i] if i < len(header.cells) else ""
        unit = units.cells[i] if units and i < len(units.cells) else ""
        found.append(Column(name, unit.strip("[]()") if unit.startswith(("[", "(")) else unit or unit_of(name)))
    return tuple(found)


def _notes(before: Sequence[str], header: Line | None, units: Line | None) -> tuple[str, ...]:
    notes = []
    given = [it for it in before if it.strip()]
    if given:
        shown = " | ".join(it.strip()[:SHOWN] for it in given[:_PREAMBLE_SHOWN])
        count = f"{len(before)} line{'s' if len(before) > 1 else ''}"
        notes.append(f"{count} before the {'header' if header else 'first row'}: {shown}")
    if header is None:
        notes.append("no header: the first row is a reading, and the columns are called by their place")
    if units is not None:
        notes.append(f"line {units.number} has units")
    return tuple(notes)
