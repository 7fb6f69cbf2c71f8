"""The decimal mark and the mark of thousands: which they are in a file, and numbers of text that has them."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

GROUPS = (",", ".", "'", "\u2019", " ", "\u00a0", "\u202f")  # marks of thousands
_ALIKE = {" ": "[ \u00a0\u202f]", "'": "['\u2019]"}  # these go with others that look like them
_SIGN, _EXPONENT, _GROUP = "[+-]?", r"(?:[eE][+-]?\d+)?", r"([,.'\u2019 \u00a0\u202f])\d{3}"
_COMMA = re.compile(_SIGN + r"(?:\d*,(?:\d{1,2}|\d{4,})|0+,\d+|\d{4,},\d+)" + _EXPONENT)
_POINT = re.compile(_SIGN + r"(?:\d*\.(?:\d{1,2}|\d{4,})|0+\.\d+|\d{4,}\.\d+|\d+\.|\d+\.\d+(?=[eE]))" + _EXPONENT)
_BOTH = re.compile(_SIGN + r"\d{1,3}" + _GROUP + r"(?:\1\d{3})*([,.])\d+" + _EXPONENT)
_MANY = re.compile(_SIGN + r"\d{1,3}" + _GROUP + r"(?:\1\d{3})+")  # two groups or more: no decimal mark
_EITHER = re.compile(_SIGN + r"[1-9]\d{0,2}([,.])\d{3}")  # "1,234": one thousand, or one and a bit
_BLANK = re.compile(_SIGN + r"\d{1,3}(?:['\u2019 \u00a0\u202f]\d{3})+")
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_WHOLE = r"^[+-]?[0-9]+$"


class Marks(NamedTuple):
    """How the numbers of a file are written."""

    decimal: str = "."
    thousands: str = ""  # "" where the file has none
    note: str = ""  # where it was a guess


def marks_of(cells: Iterable[str], delimiter: str) -> Marks:
    """The marks that the cells show: which are numbers in one way of writing only decides."""
    comma = point = 0
    groups: dict[str, int] = {}
    either: dict[str, int] = {}
    for cell in cells:
        if (found := _BOTH.fullmatch(cell)) and found[1] != found[2]:
            groups[found[1]] = groups.get(found[1], 0) + 1
            comma, point = comma + (found[2] == ","), point + (found[2] == ".")
        elif (found := _MANY.fullmatch(cell)) or _BLANK.fullmatch(cell):
            mark = found[1] if found else next(it for it in cell if it in GROUPS)
            groups[mark] = groups.get(mark, 0) + 1
        elif found := _EITHER.fullmatch(cell):
            either[found[1]] = either.get(found[1], 0) + 1
        elif _COMMA.fullmatch(cell):
            comma += 1
        elif _POINT.fullmatch(cell):
            point += 1
    return _decide(comma, point, groups, either, delimiter)


def _decide(comma: int, point: int, groups: dict[str, int], either: dict[str, int], delimiter: str) -> Marks:
    group = max(groups, key=lambda it: groups[it]) if groups else ""
    if comma or point:
        decimal = "," if comma > point else "."
    elif group in (",", "."):
        decimal = "." if group == "," else ","
    elif "." in either and "," not in either:  # most of the world's files: 1.234 is one and a bit
        decimal = "."
    elif "," in either and "." not in either:
        decimal = "." if delimiter == "," else ","
        words = "thousands" if decimal == "." else "decimals"
        note = f"numbers as 1,234: the comma is taken for a mark of {words}; where it is not, say decimal"
        return Marks(decimal, "," if decimal == "." else group, note)
    else:
        decimal = "," if "," in either else "."
    if group == decimal:
        group = ""
    other = "," if decimal == "." else "."
    if not group and other in either and (comma or point):
        group = other
    return Marks(decimal, group)


def plain(column: pa.Array, decimal: str = ".", thousands: str = "") -> pa.Array:
    """A column of text as plain numbers: a point as decimal mark, no marks of thousands, no plus; null: no number.

    A number is digits with a sign, a decimal mark, groups of three after a mark of thousands, and an exponent. Words
    such as NaN are none. What a cell becomes depends on the cell alone.
    """
    text = pc.utf8_trim(_without_marks(column, decimal, thousands), " \t\u00a0\u202f")
    good = pc.fill_null(pc.match_substring_regex(text, _NUMBER), fill_value=False)
    return pc.replace_substring_regex(pc.if_else(good, text, None), r"^\+", "")


def _without_marks(text: pa.Array, decimal: str, thousands: str) -> pa.Array:
    """The text with "." as decimal mark and without thousands. What breaks the groups of three stays: no number."""
    if thousands:
        mark, point = _ALIKE.get(thousands, re.escape(thousands)), re.escape(decimal)
        groups = rf"^[+-]?[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+(?:{point}[0-9]*)?(?:[eE][+-]?[0-9]+)?$"
        grouped = pc.match_substring_regex(text, groups)
        text = pc.if_else(grouped, pc.replace_substring_regex(text, mark, ""), text)
    if decimal == ",":
        pointed = pc.match_substring(text, ".")
        if pc.any(pointed).as_py():  # 1.5 is no number here
            text = pc.if_else(pointed, pc.binary_join_element_wise(text, pa.scalar("?"), ""), text)
        text = pc.replace_substring(text, ",", ".")
    return text
