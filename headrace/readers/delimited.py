"""CSV, TSV and other text in columns, whatever its dialect. docs/files.md has what is recognised."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

import numpy as np
import pyarrow as pa

from headrace.readers import textlines
from headrace.readers.base import BATCH_ROWS, Batch, LeftOut, Table
from headrace.readers.options import check
from headrace.readers.source import HEAD, Source
from headrace.readers.textknown import LAYOUTS, PACKET_HEADER, PACKETS
from headrace.readers.textlayout import NO_HEADER, WORDS, Layout, layout_of
from headrace.readers.textparts import parts_of, rows_of
from headrace.readers.textrows import Cutter, Rows

_SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".txt", ".dat", ".asc", ".log", ".prn"})
_OTHERS = (b"{", b"[", b"<", b"%PDF", b"PK\x03\x04", b"PAR1", b"ARROW1")  # JSON, XML, packed and binary files
_CONTROL = bytes(it for it in range(32) if it not in b"\t\n\r\0\x1a\x1b\x0c")


def suits(head: bytes, name: str) -> bool:
    """Whether it is text at all, and not of a format that is text as well."""
    if not head:
        return PurePath(name).suffix.lower() in _SUFFIXES
    encoding = textlines.encoding(head).name
    text = head if encoding in ("utf-8", "cp1252", "latin-1") else textlines.text(head, encoding).encode()
    if text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_OTHERS):
        return False
    strange = len(text) - len(text.translate(None, _CONTROL))
    return strange * 100 <= len(text) and text.count(0) * 2 <= len(text)


def open_file(source: Source, options: Mapping[str, str]) -> "Delimited":
    """Find the dialect, as far as the options leave it open."""
    check(
        options,
        encoding=(),
        delimiter=(),
        header=(),
        first_row=(),
        units=("row", "none"),
        decimal=(".", ","),
        thousands=(),
        layout=LAYOUTS,
    )
    head = source.head()
    found = textlines.encoding_of(source, head)
    if "encoding" in options:
        asked = textlines.asked(options["encoding"], head)
        found = found if asked.name == found.name else asked
    layout = layout_of(textlines.text(head, found.name), options, place=str(source.path))
    size = _block_size(head)
    if layout.kind != PACKETS:
        return Delimited(source, found, {"": layout}, size=size)
    layouts = {}
    others = {name: word for name, word in options.items() if name not in ("header", "first_row")}
    for part in parts_of(textlines.blocks(source, found.name), PACKET_HEADER.encode(), place=str(source.path)):
        text = part.sample.decode(errors="replace")
        mode = text.split("\n", 1)[1].split("\t", 1)[0]
        one = layout_of(text, others, place=f"{source.path}: line {part.line}")
        name = f"mode {mode}" if mode and f"mode {mode}" not in layouts else f"line {part.line}"
        layouts[name] = one
    return Delimited(source, found, layouts, size=size)


def _block_size(head: bytes) -> int:
    """Bytes of about BATCH_ROWS lines, within bounds."""
    lines = max(1, head.count(b"\n"), head.count(b"\r"))
    return max(HEAD, min(textlines.BLOCK, len(head) // lines * BATCH_ROWS))


class Delimited:
    """An open file of text in columns: one table, or one for each header."""

    def __init__(
        self, source: Source, encoding: textlines.Encoding, layouts: Mapping[str, Layout], *, size: int
    ) -> None:
        self._source, self._encoding, self._layouts, self._size = source, encoding.name, tuple(layouts.values()), size
        first = [encoding.note] if encoding.note else []
        self._tables = tuple(
            Table(name, it.columns, it.start, it.rate, notes=(*first, *it.notes)) for name, it in layouts.items()
        )

    @property
    def dialect(self) -> dict[str, str]:
        """All options that open the file in the same way."""
        layout = self._layouts[0]
        delimiter = next((word for word, mark in WORDS.items() if mark == layout.delimiter), layout.delimiter)
        return {
            "encoding": self._encoding,
            "delimiter": delimiter,
            "header": str(layout.header or NO_HEADER),
            "first_row": str(layout.skip + 1),
            "units": layout.units,
            "decimal": layout.marks.decimal,
            "thousands": layout.marks.thousands,
            "layout": layout.kind,
        }

    @property
    def tables(self) -> Sequence[Table]:
        """The table; with several headers, one for each."""
        return self._tables

    def batches(self, table: int = 0) -> Iterator[Batch]:
        """The rows as text: a cell as it stands, without blanks around it; null where it is empty."""
        for rows in self.rows(table):
            yield from _batches(rows, self._source.done)

    def rows(self, table: int = 0) -> Iterator[Rows]:
        """The same, with the line at which each row begins."""
        layout = self._layouts[table]
        blocks = textlines.blocks(self._source, self._encoding, self._size)
        if layout.kind != PACKETS:
            cutter = Cutter(layout)
            for block, last in blocks:
                yield cutter.cut(block, last=last)
            return
        cutter = Cutter(layout._replace(skip=0))  # rows_of() gives no headers
        for lines, last, number in rows_of(blocks, PACKET_HEADER.encode(), layout.again.encode()):
            yield cutter.cut(lines, last=last, line=number)

    def close(self) -> None:
        """Nothing stays open between batches."""


def _batches(rows: Rows, done: int) -> Iterator[Batch]:
    """Rows in batches of BATCH_ROWS at most, each with what was left out among and after its rows."""
    left: Sequence[LeftOut] = rows.left_out
    for at in range(0, max(1, len(rows.numbers)), BATCH_ROWS):
        numbers = rows.numbers[at : at + BATCH_ROWS]
        final = at + BATCH_ROWS >= len(rows.numbers)
        here = left if final else [it for it in left if it.number < rows.numbers[at + BATCH_ROWS]]
        left = left[len(here) :]
        if len(numbers) or here:
            columns = [it.slice(at, BATCH_ROWS) for it in rows.columns]
            table = pa.RecordBatch.from_arrays(columns, names=[str(i) for i in range(len(columns))])
            # pa.array() of NumPy's would import pandas: half a second, and 50 MB
            buffers = [None, pa.py_buffer(np.ascontiguousarray(numbers))]
            yield Batch(pa.Array.from_buffers(pa.int64(), len(numbers), buffers), table, tuple(here), done)
