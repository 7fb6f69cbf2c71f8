"""The lines of a text file: its encoding, and its bytes as UTF-8 in blocks that end where a line ends."""

import codecs
import io
from collections.abc import Iterator
from typing import NamedTuple, cast

from headrace.errors import ConfigError
from headrace.readers.source import HEAD, Source, broken

BLOCK = 1024 * 1024  # bytes that are read at once
SEARCHED = 64 * 1024 * 1024  # bytes, about, in which the encoding is looked for
LONGEST = 16 * 1024 * 1024  # bytes of a line: a cell may be a waveform; what is longer is not kept in memory
CUT = b"\xff\0CUT"  # at the end of what is given of a longer line
NOT_TEXT = b"\xff"  # stands where bytes can't be decoded; no UTF-8 has it
_GIVEN = 4096  # bytes of a line too long
_MARKS = (  # the longer ones first: that of UTF-32 begins as that of UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Encoding(NamedTuple):
    """How bytes become text, and how that was found."""

    name: str
    note: str = ""  # where it was a guess


def encoding(head: bytes) -> Encoding:
    """The encoding of a text that begins with these bytes.

    In this order: what a byte-order mark says; UTF-16 where each second byte is zero; UTF-8 where it is without fault;
    else Windows-1252, or Latin-1 where a byte is none of Windows-1252.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return Encoding(name)
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if half and odd > 0.6 * half and even < 0.1 * half:
        return Encoding("utf-16-le", "no byte-order mark: taken for UTF-16, as each second byte is zero")
    if half and even > 0.6 * half and odd < 0.1 * half:
        return Encoding("utf-16-be", "no byte-order mark: taken for UTF-16, as each second byte is zero")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD)
    except UnicodeDecodeError as e:
        return _western(head[e.start :], e.start)
    return Encoding("utf-8")


def encoding_of(source: Source, head: bytes) -> Encoding:
    """The encoding of a file. Where it begins with plain ASCII, the first other byte within SEARCHED decides."""
    if len(head) < HEAD or not head.isascii() or 0 in head:
        return encoding(head)
    at = 0
    try:
        for part, _ in _parts(source, BLOCK):
            if not part.isascii():
                place = next(i for i, byte in enumerate(part) if byte > 127)
                return Encoding("utf-8") if _begins_utf8(part[place:]) else _western(part[place:], at + place)
            at += len(part)
            if at >= SEARCHED:
                break
    except ConfigError:  # a broken file: its rows come first
        pass
    return Encoding("utf-8")


def _begins_utf8(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return any(decoder.decode(data[i : i + 1]) for i in range(4)) or True  # or the rest is in the next block
    except UnicodeDecodeError:
        return False


def _western(data: bytes, place: int) -> Encoding:
    """`data`: from the first byte on that is not UTF-8, which is the file's byte `place`."""
    name = "latin-1" if any(byte in data for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D)) else "cp1252"
    return Encoding(name, f"not UTF-8 (byte {place} is {data[0]:#04x}): taken for {name}")


def asked(name: str, head: bytes) -> Encoding:
    """The encoding that an option names. ConfigError where there is none of the name."""
    try:
        found = codecs.lookup(name).name
    except LookupError:
        words = "Such are utf-8, utf-16, cp1252, latin-1, shift_jis"
        raise ConfigError(f"option encoding: {name!r} is not known. {words}") from None
    if found in ("utf-8-sig", "ascii"):
        return Encoding("utf-8")
    if found in ("utf-16", "utf-32"):  # the order of bytes is what the mark says
        marked = (it for mark, it in _MARKS if head.startswith(mark) and it.startswith(found))
        return Encoding(next(marked, f"{found}-le"))
    return Encoding({"iso8859-1": "latin-1"}.get(found, found))


def text(head: bytes, name: str) -> str:
    """The beginning of a file as text, each line's end as LF. The last line is whole, or left out if `head` is cut."""
    found = codecs.getincrementaldecoder(name)("replace").decode(head, final=False).removeprefix("\ufeff")
    found = found.replace("\r\n", "\n").replace("\r", "\n")
    if len(head) < HEAD:
        return found
    return found[: found.rfind("\n") + 1] or found


def blocks(source: Source, name: str, size: int = BLOCK) -> Iterator[tuple[bytes, bool]]:
    """All lines of the file as UTF-8, many at once, and whether this is the last of the blocks.

    A line ends with LF, CR LF or CR in the file, with LF here; all blocks but the last end so. Of a line that is longer
    than LONGEST, the beginning is given, then CUT. Where the gzip file is broken, its whole lines come first.
    """
    rest, cut, first = b"", False, True  # `cut`: what comes before the next line's end is of a line too long
    for part, last in _utf8(source, name, size):
        fresh = part.removeprefix(codecs.BOM_UTF8) if first else part
        first = False
        if cut and (end := fresh.find(b"\n")) < 0:
            fresh = b""
        elif cut:
            fresh, cut = fresh[end:], False
        whole = rest + fresh
        if last:
            yield whole, True
            return
        end = whole.rfind(b"\n") + 1
        rest = whole[end:]
        if len(rest) > LONGEST:
            rest, cut = rest[:_GIVEN] + CUT, True
        if end:
            yield whole[:end], False


def _utf8(source: Source, name: str, size: int) -> Iterator[tuple[bytes, bool]]:
    """The file's bytes as UTF-8 with LF at the ends of lines, and whether these are the last."""
    decoder = None if name == "utf-8" else codecs.getincrementaldecoder(name)("replace")
    held = b""  # a CR at the end: is an LF the next byte?
    for part, last in _parts(source, size):
        fresh = part
        if decoder is not None:
            fresh = decoder.decode(part, final=last).encode().replace(b"\xef\xbf\xbd", NOT_TEXT)
        fresh = held + fresh
        held = b""
        if b"\r" in fresh:
            if not last and fresh.endswith(b"\r"):
                fresh, held = fresh[:-1], b"\r"
            fresh = fresh.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield fresh, last


def _parts(source: Source, size: int) -> Iterator[tuple[bytes, bool]]:
    with source.stream() as stream:
        file = cast("io.BufferedReader", stream)
        while True:
            part, last = bytearray(), False
            try:
                while len(part) < size and not last:
                    more = file.read1(size - len(part))  # not read(): it loses what came before an error
                    last = not more
                    part += more
                last = last or not file.peek(1)
            except (OSError, EOFError) as e:
                end = part.rfind(b"\n") + 1
                if end:
                    yield bytes(part[:end]), False
                raise broken(source.path, e) from None
            yield bytes(part), last
            if last:
                return
