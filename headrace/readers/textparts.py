"""Files in which a header comes again wherever the columns change, as lib221e writes them: a table for each header."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from headrace.errors import ConfigError

MANY = 200  # different headers
_SAMPLE = 16 * 1024  # bytes of its first rows, to find out what they are


class Part(NamedTuple):
    """A header, and what follows it first."""

    header: bytes
    sample: bytes  # with the header
    line: int  # of its first occurrence, from 1


def parts_of(blocks: Iterable[tuple[bytes, bool]], begin: bytes, *, place: str) -> list[Part]:
    """All different headers of a file, which are the lines that begin so."""
    found: dict[bytes, Part] = {}
    now = Part(b"", b"", 0)
    for header, lines, line, _ in _runs(blocks, begin):
        if header and header not in found:
            if len(found) == MANY:
                raise ConfigError(f"{place}: more than {MANY} different headers that begin with {begin.decode()!r}")
            found[header] = Part(header, header + b"\n", line - 1)
        now = found.get(header, now)
        if now.header and len(now.sample) < _SAMPLE:
            cut = lines[: lines.rfind(b"\n", 0, _SAMPLE) + 1]
            found[header] = now._replace(sample=now.sample + cut)
    return list(found.values())


def rows_of(blocks: Iterable[tuple[bytes, bool]], begin: bytes, header: bytes) -> Iterator[tuple[bytes, bool, int]]:
    """The lines below one of the headers, each time it occurs; whether the file ends there; the first one's number."""
    last_line = 1
    for found, lines, line, last in _runs(blocks, begin):
        last_line = line
        if found == header:
            yield lines, last, line
            if last:
                return
    yield b"", True, last_line


def _runs(blocks: Iterable[tuple[bytes, bool]], begin: bytes) -> Iterator[tuple[bytes, bytes, int, bool]]:
    """Lines that follow one another, without headers: the header above, the lines, the first one's number, the end."""
    header, line = b"", 1
    for block, last in blocks:
        at = 0
        while at < len(block):
            if block.startswith(begin, at):
                end = block.find(b"\n", at)
                end = len(block) if end < 0 else end
                header = block[at:end]
                line, at = line + 1, end + 1
                if at < len(block) and not block.startswith(begin, at):
                    continue
                yield header, b"", line, last and at >= len(block)
                continue
            end = block.find(b"\n" + begin, at) + 1 or len(block)
            lines = block[at:end]
            yield header, lines, line, last and end == len(block)
            line, at = line + lines.count(b"\n"), end
