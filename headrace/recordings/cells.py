"""From the text of a CSV cell to JSON text. Numbers keep exactly the digits of the file."""

import re
from collections.abc import Callable
from datetime import datetime, tzinfo
from functools import lru_cache

import orjson

from headrace.contracts.model import Field
from headrace.errors import ConfigError
from headrace.readers.celltimes import PER_UNIT, check_format, micros, scaled

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_LOOSE_NUMBER = re.compile(r"([+-]?)0*(\d*)(?:\.(\d*))?([eE][+-]?\d+)?", re.ASCII)
_COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?", re.ASCII)
_BOOLEANS = {"true": "true", "false": "false", "1": "true", "0": "false", "yes": "true", "no": "false"}

Convert = Callable[[str], str]  # a cell that is not empty, to JSON text
ReadTime = Callable[[str], int]  # a cell to microseconds since 1970 UTC; ValueError when it is no time


def converter(f: Field, *, decimal_comma: bool = False) -> Convert:
    """A function that makes JSON of the field's cells. A cell of another type stays text: the bridge judges it."""
    if f.kind in {"double", "float", "int", "long"} and f.logical is None:
        return number_with_comma if decimal_comma else number
    if f.kind == "boolean":
        return lambda cell: _BOOLEANS.get(cell.lower()) or text(cell)
    if f.kind in {"string", "enum"}:
        return text
    return lambda cell: cell if _is_json(cell) else text(cell)


def number(cell: str) -> str:
    """A JSON number with the cell's digits (.5, +1 and 007 as JSON writes them); text when it is no number."""
    if _JSON_NUMBER.fullmatch(cell):
        return cell
    loose = _LOOSE_NUMBER.fullmatch(cell)
    if loose is None or not (loose[2] or loose[3] or "0" in cell):
        return text(cell)
    sign, whole, fraction, exponent = loose.groups()
    return f"{'-' if sign == '-' else ''}{whole or '0'}{'.' + fraction if fraction else ''}{exponent or ''}"


def number_with_comma(cell: str) -> str:
    """As `number`; the decimal sign may be a comma."""
    return number(cell.replace(",", ".")) if _COMMA_NUMBER.fullmatch(cell) else number(cell)


def text(cell: str) -> str:
    """A JSON string."""
    return _short_text(cell) if len(cell) <= 64 else orjson.dumps(cell).decode()


@lru_cache(maxsize=4096)
def _short_text(cell: str) -> str:
    return orjson.dumps(cell).decode()


def time_reader(form: str, zone: tzinfo) -> ReadTime:
    """A function that reads times of the format `form`: s, ms, us, ns (numbers since 1970), iso, or a strptime format.

    `zone`: of times without a zone. ConfigError for a format that strptime does not know.
    """
    if form in PER_UNIT:
        factor = PER_UNIT[form]
        return lambda cell: int(cell) * factor if cell.isdigit() else scaled(cell, form)
    if form == "ns":
        return lambda cell: int(cell) // 1000 if cell.isdigit() else scaled(cell, form)
    if form == "iso":
        return lambda cell: micros(datetime.fromisoformat(cell), zone)
    if "%" not in form:
        raise ConfigError(f"--time: {form!r} is not a format: s, ms, us, ns, iso, or one such as %Y-%m-%d %H:%M:%S")
    try:
        check_format(form)
    except ValueError as e:
        raise ConfigError(f"--time: {form!r}: {e}") from None
    return lambda cell: micros(datetime.strptime(cell, form), zone)  # noqa: DTZ007 - the zone is added


def _is_json(cell: str) -> bool:
    try:
        orjson.loads(cell)
    except orjson.JSONDecodeError:
        return False
    return True
