"""JSON text as values, one after the other, from a file of any length: one a line, or the elements of one list.

No digit of a number is lost: one that neither 64 bits nor a double hold as it is written comes as `Number`.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from io import BufferedReader
from typing import Any, BinaryIO, NamedTuple, cast

import orjson

from headrace.errors import ConfigError
from headrace.readers.base import SHOWN
from headrace.readers.source import Source, broken

MAX_VALUE = 16 * 1024 * 1024  # bytes of one value
LINES, LIST = "lines", "list"
LONG = 2**63
_BLOCK = 1024 * 1024
_MARK = codecs.BOM_UTF8
_NO_BLANK = re.compile(r"[^ \t\r\n]")
# Digits of a text as zeros, to find numbers of 16 digits and more with searches that cost nothing.
_SHAPE = bytes.maketrans(b"0123456789E", b"0000000000e")
_LONG = (b"." + b"0" * 12, b"00000.00000", b"0" * 11 + b".0", b"0" * 19, b"e000")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,400})(?:\.[0-9]{1,400})?(?:[eE][-+]?[0-9]{1,9})?")
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")  # of a character outside the first 65,536


class Number(str):
    """A number as it is written."""

    __slots__ = ()


class Bad(NamedTuple):
    """Text that is no JSON."""

    reason: str


Item = tuple[int, Any, bytes | str]  # which line or element, from 1; its value, or Bad; its text, or the beginning


def _int(text: str) -> int | Number:
    if len(text) < 19:
        return int(text)
    return value if len(text) < 21 and -LONG <= (value := int(text)) < LONG else Number(text)


def _float(text: str) -> float | Number:
    value = float(text)
    told = repr(value)
    if told == text:
        return value
    try:
        return value if value - value == 0 and Decimal(told) == Decimal(text) else Number(text)
    except InvalidOperation:  # an exponent of 20 digits
        return Number(text)


def number(text: str, *, literal: bool = False) -> Any:
    """The number that the text is in JSON, or the text."""
    if not _NUMBER.fullmatch(text):
        return text
    return Number(text) if literal else _int(text) if text.lstrip("-").isdigit() else _float(text)


_EXACT = json.JSONDecoder(parse_int=_int, parse_float=_float)
_LITERAL = json.JSONDecoder(parse_int=Number, parse_float=Number)


def loads(text: bytes, *, literal: bool = False) -> Any:
    """The value, or Bad. `literal`: every number as `Number`. NaN and Infinity are numbers, as Python writes them."""
    try:
        value = (_LITERAL if literal else _EXACT).decode(text.decode())
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        return Bad("not UTF-8 text")
    except UnicodeEncodeError:
        return Bad("half a character, written as \\u....")
    except ValueError:
        return Bad("not JSON" if text.strip() else "a blank line")
    except RecursionError:
        return Bad("nested too deeply")
    return value


def shown(text: bytes | str) -> str:
    """The beginning of a text, for people."""
    return (text[: SHOWN * 4].decode(errors="replace") if isinstance(text, bytes) else text)[:SHOWN].strip()


def written(value: Any) -> str:
    """A value as JSON text, its numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(k, ensure_ascii=False)}: {written(v)}' for k, v in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def begins(head: bytes) -> bytes:
    """The first bytes of a text without its mark and blanks."""
    return head.removeprefix(_MARK).lstrip()


def lines(source: Source, *, literal: bool = False, skip: Callable[[bytes], int] | None = None) -> Iterator[Item]:
    """The value of each line, of what follows its first `skip` bytes. ConfigError where the gzip file breaks off."""
    number = 0
    with source.stream() as it:
        for texts, long in _lines(source, it):
            fast = not literal and not long
            for text in texts:
                number += 1
                json_text = text[skip(text) :] if skip else text
                if len(text) > MAX_VALUE:
                    value: Any = Bad(f"longer than {MAX_VALUE >> 20} MB")
                elif fast:
                    try:
                        value = orjson.loads(json_text)
                    except orjson.JSONDecodeError:
                        value = loads(json_text)
                else:
                    value = loads(json_text, literal=literal)
                if long is None and isinstance(value, Bad):
                    value = Bad("the last line, half-written")
                yield number, value, text


def _lines(source: Source, it: BinaryIO) -> Iterator[tuple[list[bytes], bool | None]]:
    """Lines, and whether there may be long numbers in them; None: it is the last line, and has no end.

    Of a line that is too long comes the beginning.
    """
    rest, first, passing = b"", True, False
    while block := _read(source, it, _BLOCK):
        if first:
            block, first = block.removeprefix(_MARK), False
        if passing:
            _, end, block = block.partition(b"\n")
            passing = not end
        text = rest + block
        texts = text.split(b"\n")
        rest = texts.pop()
        if len(rest) > MAX_VALUE:
            texts.append(rest)
            rest, passing = b"", True
        yield texts, _has_long_numbers(text)
    if rest:
        yield [rest], None


def _has_long_numbers(text: bytes) -> bool:
    shape = text.translate(_SHAPE, b"+-")
    return any(part in shape for part in _LONG)


def _read(source: Source, it: BinaryIO, size: int) -> bytes:
    try:
        return cast("BufferedReader", it).read1(size)  # read() of a broken gzip file would lose what comes before
    except (OSError, EOFError) as e:
        raise broken(source.path, e) from None


def elements(source: Source, *, literal: bool = False) -> Iterator[Item]:
    """The elements of the list that the file is. ConfigError, after those before it, where it is broken."""
    with source.stream() as it:
        yield from _Elements(source, it, _LITERAL if literal else _EXACT).all()


class _Elements:
    """The text that is read and not yet taken, and where it begins."""

    def __init__(self, source: Source, it: BinaryIO, decoder: json.JSONDecoder) -> None:
        self.source, self.it, self.decoder = source, it, decoder
        self.utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.at, self.number, self.ended = "", 0, 0, False

    def all(self) -> Iterator[Item]:
        """The elements in turn."""
        self._take("[")
        mark = self._next()
        while mark != "]":
            yield self._element()
            mark = self._next()
            if mark != "]":
                self._take(",")
        self._take("]")
        if self._next():
            raise self._broken("something follows the end of the list")

    def _element(self) -> Item:
        self._next()
        more = _BLOCK
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
                if self.ended or _NO_BLANK.search(self.text, end):  # what follows says that a number is whole
                    break
            except RecursionError:
                raise self._broken("nested too deeply") from None
            except ValueError as e:
                if self.ended or len(self.text) - self.at > MAX_VALUE:
                    cut = "the file was cut off in it" if self.ended else str(e).partition(":")[0]
                    raise self._broken(cut) from None
            self._more(more)
            more *= 2
        self.number += 1
        text, self.at = self.text[self.at : end], end
        return self.number, value, text

    def _next(self) -> str:
        """The next character that is no blank; "" at the end."""
        while not (found := _NO_BLANK.search(self.text, self.at)):
            if self.ended:
                return ""
            self.at = len(self.text)
            self._more(_BLOCK)
        self.at = found.start()
        return found[0]

    def _take(self, mark: str) -> None:
        found = self._next()
        if found != mark:
            raise self._broken(f"{mark!r} expected, not {found!r}" if found else "the file was cut off")
        self.at += 1

    def _more(self, size: int) -> None:
        try:
            block = _read(self.source, self.it, size)
            self.text, self.at = self.text[self.at :] + self.utf8.decode(block, final=not block), 0
        except UnicodeDecodeError:
            raise self._broken("not UTF-8 text") from None
        self.ended = not block

    def _broken(self, words: str) -> ConfigError:
        where = f"element {self.number + 1} of the list"
        return ConfigError(f"{self.source.path}: {where}: {words}. Mend the file, or have its maker write it again")
