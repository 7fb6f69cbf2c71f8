"""Workbooks: XLSX, XLSM, XLSB, XLS and ODS. A sheet is a table; where its rows begin is found as in text.

A workbook is read whole, so its size is limited.
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.errors import ConfigError
from headrace.readers.base import BATCH_ROWS, SHOWN, Batch, Column, LeftOut, Reader, Table
from headrace.readers.dialects import SAMPLE
from headrace.readers.options import check
from headrace.readers.packages import package
from headrace.readers.source import Source
from headrace.readers.textknown import PLAIN
from headrace.readers.textlayout import Layout, layout_of

MAX_PACKED, MAX_UNPACKED = 64 * 1024**2, 1024**3  # bytes of a file
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BOOK = "Workbook".encode("utf-16-le")
_TYPES: dict[frozenset[type], pa.DataType] = {
    frozenset({float}): pa.float64(),
    frozenset({int}): pa.int64(),
    frozenset({int, float}): pa.float64(),
    frozenset({bool}): pa.bool_(),
    frozenset({datetime}): pa.timestamp("us"),
    frozenset({date}): pa.timestamp("us"),
    frozenset({date, datetime}): pa.timestamp("us"),
    frozenset({time}): pa.time64("us"),
    frozenset({timedelta}): pa.duration("us"),
}
Cells = Sequence[Any]


def suits(head: bytes, name: str) -> bool:
    """Whether it is a zip file with a workbook, or one of Excel's older files."""
    old = head.startswith(_OLE) and (name.lower().endswith((".xls", ".xlt")) or _BOOK in head)
    book = b"[Content_Types].xml" in head or b"opendocument.spreadsheet" in head[:200]
    return old or (head.startswith(b"PK\3\4") and (book or name.lower().endswith((".xlsx", ".xlsm", ".xlsb", ".ods"))))


def open_file(source: Source, options: Mapping[str, str]) -> Reader:
    """Options: `sheet`, the name of the only one to read; `header`, its row, or `none`; `units`, `row` or `none`."""
    check(options, sheet=(), header=(), units=("row", "none"))
    return _Book(source, dict(options))


class _Book:
    """An open workbook."""

    def __init__(self, source: Source, options: dict[str, str]) -> None:
        calamine = package("python_calamine", str(source.path))
        path = source.whole()
        _check_size(source, path)
        self._source, self.dialect = source, options
        try:
            self._book = calamine.load_workbook(str(path))
            hidden = {it.name for it in self._book.sheets_metadata if it.visible != calamine.SheetVisibleEnum.Visible}
            found = [it for it in self._book.sheet_names if options.get("sheet", it) == it]
            sheets = [(name, self._book.get_sheet_by_name(name)) for name in found]
        except calamine.PasswordError:
            raise ConfigError(f"{source.path}: it has a password. Save it without one") from None
        except (calamine.CalamineError, OSError) as e:
            words = " ".join(str(e).split())[:SHOWN]
            raise _unreadable(source, f": {words}") from None
        except BaseException as e:
            if type(e).__name__ != "PanicException":  # of the package, whose class can't be imported
                raise
            raise _unreadable(source, "") from None
        if not sheets:
            asked = f" {options['sheet']!r}" if "sheet" in options else ""
            raise ConfigError(f"{source.path}: it has no sheet{asked}")
        self._sheets: list[tuple[Any, list[pa.DataType]]] = []
        self._layouts: list[Layout] = []
        tables: list[Table] = []
        without = ""
        for name, sheet in sheets:
            try:
                layout, types = self._layout(sheet)
            except ConfigError as e:
                without = without or f"{source.path}: sheet {name}: {str(e).removeprefix(': ')}"
                continue
            notes = (*layout.notes, *(["the sheet is hidden"] if name in hidden else []))
            self._sheets.append((sheet, types))
            self._layouts.append(layout)
            tables.append(Table(name, tuple(layout.columns), notes=notes))
        if not tables:
            raise ConfigError(without)
        passed = [name for name, _ in sheets if name not in {it.name for it in tables}]
        more = (f"without rows, and passed over: {', '.join(passed)}",) if passed else ()
        self.tables = tuple(it._replace(notes=it.notes + more) for it in tables)

    def _layout(self, sheet: Any) -> tuple[Layout, list[pa.DataType]]:
        head = []
        for row in sheet.iter_rows():
            head.append("\t".join(" ".join(_text(it).split()) for it in row))
            if len(head) == SAMPLE:
                break
        asked = {name: word for name, word in self.dialect.items() if name != "sheet"}
        layout = layout_of("\n".join(head), {"delimiter": "tab", "layout": PLAIN, **asked}, place="")
        kinds: list[set[type]] = [set() for _ in layout.columns]
        header = [it.name for it in layout.columns]
        for _, row in _rows(sheet, layout):
            for i, cell in enumerate(() if _no_row(row, header) else row):
                if cell is not None:
                    kinds.extend(set() for _ in range(len(kinds), i + 1))  # a cell beyond the header is not lost
                    kinds[i].add(type(cell))
        more = (Column("") for _ in range(len(layout.columns), len(kinds)))
        types = [_TYPES.get(frozenset(it), pa.string()) for it in kinds]
        return layout._replace(columns=(*layout.columns, *more)), types

    def batches(self, table: int = 0) -> Iterator[Batch]:
        """See Reader."""
        (sheet, types), layout, size = self._sheets[table], self._layouts[table], self._source.size
        numbers: list[int] = []
        rows: list[Cells] = []
        left_out: list[LeftOut] = []
        header = [it.name for it in layout.columns]
        while header and not header[-1]:  # cells beyond the header
            header.pop()
        for number, (place, row) in enumerate(_rows(sheet, layout)):
            reason = _no_row(row, header)
            if reason:
                words = " ".join(_text(it) for it in row if it is not None)[:SHOWN]
                left_out.append(LeftOut(number, f"row {place} of the sheet", reason, words))
            else:
                numbers.append(number)
                rows.append(row)
            if len(numbers) + len(left_out) == BATCH_ROWS:
                yield _batch(numbers, rows, types, left_out, size)
                numbers, rows, left_out = [], [], []
        yield _batch(numbers, rows, types, left_out, size)

    def close(self) -> None:
        """Close the workbook."""
        self._book.close()


def _unreadable(source: Source, why: str) -> ConfigError:
    return ConfigError(f"{source.path}: no workbook that can be read{why}. Open it and save it again")


def _check_size(source: Source, path: Path) -> None:
    size = path.stat().st_size
    words = "A workbook is read whole: save its sheets as CSV"
    if size > MAX_PACKED:
        raise ConfigError(f"{source.path}: {size:,} bytes, where {MAX_PACKED:,} are read. {words}")
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as it:
            size = sum(member.file_size for member in it.infolist())
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as e:
        raise ConfigError(f"{source.path}: broken: {e}. Copy it again") from None
    if size > MAX_UNPACKED:
        raise ConfigError(f"{source.path}: {size:,} bytes when unpacked, where {MAX_UNPACKED:,} are read. {words}")


def _rows(sheet: Any, layout: Layout) -> Iterator[tuple[int, Cells]]:
    """The rows below the header, with their numbers in the sheet; None where a cell is empty."""
    for place, row in enumerate(sheet.iter_rows(), 1):
        if place > layout.skip:
            yield place, [None if it == "" else it.strip() or None if type(it) is str else it for it in row]


def _no_row(row: Cells, header: Sequence[str]) -> str:
    if not any(it is not None for it in row):
        return "a blank row"
    return "the header again" if [_text(it) for it in row[: len(header)]] == header else ""


def _batch(
    numbers: list[int], rows: list[Cells], types: list[pa.DataType], left_out: list[LeftOut], done: int
) -> Batch:
    arrays = []
    for i, it in enumerate(types):
        cells = [row[i] if i < len(row) else None for row in rows]
        if it == pa.string():
            cells = [None if cell is None else _text(cell) for cell in cells]
        elif it == pa.timestamp("us"):
            cells = [datetime.combine(cell, time()) if type(cell) is date else cell for cell in cells]
        arrays.append(pa.array(cells, it))
    names = [str(i) for i in range(len(types))]
    return Batch(pa.array(numbers, pa.int64()), pa.RecordBatch.from_arrays(arrays, names), tuple(left_out), done)


def _text(cell: Any) -> str:
    """A cell as text: a whole number without a point, a time in ISO 8601."""
    if cell is None:
        return ""
    if type(cell) is bool:
        return str(cell).upper()
    if type(cell) is float:
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    return cell.isoformat(" ") if type(cell) is datetime else str(cell)
