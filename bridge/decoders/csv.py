"""Lines of CSV (RFC 4180, but a line is a line) to an object for each: text by the names of the columns.

Empty cells are left out.
"""

import csv
import re
from collections import Counter
from functools import partial
from typing import Any

from bridge.decoders.copies import MAX_BYTES, MAX_ELEMENTS, too_much
from bridge.decoders.parsed import Parser
from headrace.config.formats import Csv
from headrace.errors import PoisonError, Reason

_MARKS = re.compile(rb"\A(?:\xef\xbb\xbf)+")  # byte-order marks
_BLANK = b" \t\r\0"  # a line of these alone is none
_MAX_COLUMNS = 1_000


def parser(settings: Csv | None) -> Parser:
    """The parser of lines with these columns; with those of the first line where the settings name none."""
    told = settings or Csv()
    return Parser(partial(parse, settings=told), partial(split, settings=told))


def parse(payload: bytes, settings: Csv) -> list[dict[str, Any] | PoisonError]:
    """An object for each line that is not blank and has no names, or why it has none. Raises PoisonError."""
    head, lines = _lines(payload, settings)
    if not head and not lines:
        raise PoisonError(Reason.MISSING_FIELD, "the payload has no line. Have the device send one for each reading")
    if len(lines) > MAX_ELEMENTS:
        words = f"{len(lines):,} lines, and a message may have {MAX_ELEMENTS:,}: send them in several"
        raise PoisonError(Reason.TOO_LARGE, words)
    if len(head) * len(lines) > MAX_BYTES:  # as dead letters each line has the names
        raise too_much()
    names = settings.columns or tuple(name.strip() for name in _cells(head, settings.delimiter))
    if len(names) > _MAX_COLUMNS:
        raise PoisonError(
            Reason.TOO_LARGE, f"{len(names):,} columns, and a line may have {_MAX_COLUMNS:,}. Is csv.delimiter right?"
        )
    twice = [name for name, times in Counter(filter(None, names)).items() if times > 1]
    if twice:
        words = f"{twice[0][:80]}: the first line has this name twice. Name the columns in the route: csv.columns"
        raise PoisonError(Reason.MALFORMED, words, field=twice[0][:80])
    return [_object(names, line, settings.delimiter) for line in lines]


def split(payload: bytes, settings: Csv) -> list[bytes]:
    """Each line as a payload of its own, behind the line with the names where there is one."""
    head, lines = _lines(payload, settings)
    return lines if settings.columns else [head + b"\n" + line for line in lines]


def _lines(payload: bytes, settings: Csv) -> tuple[bytes, list[bytes]]:
    """The line with the names, and the others that are not blank."""
    # Where files were joined, any line may begin with marks: a dead letter of it is read as it was among the others.
    parts = [_MARKS.sub(b"", line) for line in payload.split(b"\n")]
    lines = [line.rstrip(b"\r\0") for line in parts if line.strip(_BLANK)]
    if settings.columns or not lines:
        return b"", lines
    return lines[0], lines[1:]


def _object(names: tuple[str, ...], line: bytes, delimiter: str) -> dict[str, Any] | PoisonError:
    try:
        cells = _cells(line, delimiter)
    except PoisonError as e:
        return e
    if len(cells) > len(names) and not any(cells[len(names) :]):  # delimiters at the end
        del cells[len(names) :]
    if len(cells) != len(names):
        words = f"{len(cells):,} cells, and there are {len(names):,} columns. Is {delimiter!r} what separates them?"
        return PoisonError(Reason.MALFORMED, words)
    return {name: cell for name, cell in zip(names, cells, strict=True) if cell and name}


def _cells(line: bytes, delimiter: str) -> list[str]:
    try:
        (cells,) = csv.reader([line.decode().strip(" ")], delimiter=delimiter, strict=True, skipinitialspace=True) or [
            []
        ]
    except UnicodeDecodeError as e:
        raise PoisonError(
            Reason.MALFORMED, f"byte {e.start} of the line is no text in UTF-8. Have the device send UTF-8"
        ) from None
    except csv.Error as e:
        raise PoisonError(
            Reason.MALFORMED, f"not a line of CSV: {e}. A cell with quotes in it stands in quotes, and has them twice"
        ) from None
    return [cell.strip() for cell in cells]
