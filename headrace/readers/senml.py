"""SenML (RFC 8428) in JSON: each record is a row, with its base name, time, unit and value applied.

A file is one pack, or has a pack a line, as a stream that was recorded has. What stands before a pack in its line, up
to a comma, is a column without a name. The older form with the records in `e`, and values in text, is read too.
"""

from collections.abc import Iterator, Mapping
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from headrace.readers import jsontext
from headrace.readers import options as words
from headrace.readers.base import Reader
from headrace.readers.jsonlines import flat
from headrace.readers.jsontext import LINES, LIST, Bad, Item, Number
from headrace.readers.objects import Objects
from headrace.readers.source import Source

_VALUES = ("v", "vs", "vb", "vd", "sv")
_BASES = ("bn", "bt", "bu", "bv", "bs")
_KNOWN = {"bver", "n", "u", "s", "t", *_BASES, *_VALUES}
_COLUMNS = ("n", "u", "v", "vs", "vb", "vd", "s", "t", "ut")
_VERSION = 10
_VERSIONS = {str(i + 1) for i in range(_VERSION)}
_LABELS = (b'"v":', b'"vs":', b'"vb":', b'"vd":', b'"sv":', b'"bn":')
_SUM = Context(prec=400)


def suits(head: bytes, name: str) -> bool:
    """Whether it begins with a record that has a name and a value, or bases."""
    text = jsontext.begins(head)
    text = text[_before(text) :].lstrip()
    if name.lower().endswith((".senml", ".sensml")):
        return text[:1] in {b"[", b"{"}
    first = bytes(c for c in text[:1000].partition(b"}")[0] if c not in b" \t\r\n")
    named = b'"n":"' in first or b'"bn":"' in first
    old = first.startswith(b"{") and b'"e":[{' in first
    return (old or first.startswith(b"[{")) and named and any(label in first for label in _LABELS)


def _before(line: bytes) -> int:
    """How many bytes stand before the pack in its line."""
    if line[:1] in {b"[", b"{"}:
        return 0
    return line.find(b",", 0, 200) + 1


def open_file(source: Source, options: Mapping[str, str]) -> Reader:
    """Options: `shape`, `lines` or `list`: a pack a line, or one."""
    words.check(options, shape=(LINES, LIST))
    shape = options.get("shape") or _shape(source)

    def items(literal: bool) -> Iterator[Item]:
        return _lines(source, literal=literal) if shape == LINES else _list(source, literal=literal)

    return Objects(source, items, {"shape": shape}, "line" if shape == LINES else "record", _COLUMNS)


def _shape(source: Source) -> str:
    """One list is a pack, unless it ends with its line and something follows."""
    text = jsontext.begins(source.head())
    line, _, rest = text.partition(b"\n")
    one = text[:1] == b"[" and not (rest.strip() and not isinstance(jsontext.loads(line), Bad))
    return LIST if one else LINES


def _list(source: Source, *, literal: bool) -> Iterator[Item]:
    bases: dict[str, Any] = {}
    for number, record, text in jsontext.elements(source, literal=literal):
        yield number, _row(record, bases, literal=literal), text


def _lines(source: Source, *, literal: bool) -> Iterator[Item]:
    stream: dict[str, Any] = {}  # the bases of records that stand alone in their lines
    for number, pack, text in jsontext.lines(source, literal=literal, skip=_before):
        assert isinstance(text, bytes)
        bases: dict[str, Any] = {}
        if type(pack) is dict and type(pack.get("e")) is list:
            records, bases = pack["e"], {key: pack[key] for key in _BASES if key in pack}
        elif type(pack) is dict:
            records, bases = [pack], stream
        else:
            records = pack if type(pack) is list else [pack]
        before = text[: max(0, _before(text) - 1)].strip().decode(errors="replace")
        size = len(text) // max(1, len(records))
        for record in records or [Bad("a pack without a record")]:
            row = _row(record, bases, literal=literal)
            if type(row) is Bad:
                yield number, row, text if len(records) < 2 else jsontext.written(record)
            else:
                yield number, {"": before, **row} if before else row, text[:size]


def _row(record: Any, bases: dict[str, Any], *, literal: bool) -> Any:
    """The record as a row, or Bad. Its bases go into `bases`."""
    if type(record) is not dict:
        return record if type(record) is Bad else Bad("no object")
    bases |= {key: record[key] for key in _BASES if key in record}
    if any(key.endswith("_") for key in record):  # RFC 8428, 4.4
        return Bad("a label that must be understood, and is not known")
    if str(record.get("bver", _VERSION)) not in _VERSIONS:
        return Bad("a version that is not known")
    told = [label for label in _VALUES if record.get(label) is not None]
    names = bases.get("bn", ""), record.get("n", "")
    if len(told) > 1:
        return Bad("two values")
    if not told and "s" not in record and ("bv" not in bases or not record.keys() - {"bver", *_BASES}):
        return Bad("a record without a value")
    if not any(names) or not all(type(it) is str for it in names):
        return Bad("a record without a name")
    row: dict[str, Any] = {"n": "".join(names), "u": record.get("u", bases.get("bu"))}
    if told and told != ["v"]:
        row["vs" if told == ["sv"] else told[0]] = record[told[0]]
    sums = (("v", "bv") if told in ([], ["v"]) else None, ("s", "bs") if "s" in record else None, ("t", "bt"))
    for label, base in filter(None, sums):
        value = _sum(record.get(label), bases.get(base), literal=literal)
        if type(value) is Bad:
            return value
        row[label] = value
    if record.keys() <= _KNOWN:
        return row
    rest = flat({"n": "", **{key: it for key, it in record.items() if key not in _KNOWN}})
    return rest if type(rest) is Bad else rest | row


def _sum(value: Any, base: Any, *, literal: bool) -> Any:
    """Base and value together; text that is no number stands as it is."""
    value, base = (jsontext.number(it, literal=literal) if type(it) is str else it for it in (value, base))
    if base is None or value is None:
        return base if value is None else value
    if type(value) is str or not all(type(it) in {int, float, Number} for it in (value, base)):
        return Bad("a base, and a value that is no number")
    try:
        one, two = (Decimal(str(it)) for it in (value, base))
    except InvalidOperation:  # an exponent of 20 digits
        return Bad("a number too large to be added to its base")
    if not all(it.is_finite() and abs(it.adjusted()) < 300 for it in (one, two)):
        return Bad("a number too large to be added to its base")
    return jsontext.number(f"{_SUM.add(one, two):f}", literal=literal)
