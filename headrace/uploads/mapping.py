"""Rows of a file's table to readings of a stream: columns of the contract's fields, and the rows that can be none."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from headrace.contracts import columnar
from headrace.contracts.model import Contract, Field
from headrace.errors import ConfigError, PoisonError, Reason
from headrace.protocol.names import ALPHABET, DEVICE, OURS, QUALITY, TIME, is_device_id
from headrace.readers.base import Batch, Table
from headrace.readers.source import stem
from headrace.uploads import cells, eventtime
from headrace.uploads.cells import Written
from headrace.uploads.part import Bools, Make, Part, Tell, missing, none
from headrace.uploads.profile import STEM, FieldFrom, Profile

Ints = npt.NDArray[np.int64]
_TICKS = {"us": (1, 1), "ms": (1, 1000), "ns": (1000, 1)}  # of event_time in the contract: microseconds times a / b
_COMMA = re.compile(r"[+-]?\d+,\d+")
_HINT = ". If it has a decimal comma, write dialect: {decimal: ','}"


class Refused(NamedTuple):
    """A row that can't be a reading."""

    number: int
    error: PoisonError
    text: bytes  # the row as a JSON object, by the columns' names


class Mapped(NamedTuple):
    """Rows of a batch. `columns` has those of the contract's fields that the rows have, for `numbers` alone."""

    numbers: Ints
    columns: dict[str, pa.Array]
    refused: tuple[Refused, ...]


class RowMapping:
    """Makes readings of one table's rows, in order. `name`: the file's, for the device's id and for messages.

    `dialect`: how the reader found the file. ConfigError: the profile does not fit the table or the contract.
    """

    def __init__(
        self, profile: Profile, contract: Contract, table: Table, name: str, dialect: Mapping[str, str]
    ) -> None:
        self._contract, self._table, self._name = contract, table, name
        self._place: dict[str, int] = {}
        for i, column in enumerate(table.columns):
            self._place.setdefault(column.name, i)
        self._written = Written(
            dialect.get("decimal") or ".", dialect.get("thousands", ""), frozenset((*profile.nothing, ""))
        )
        self._check(profile)
        self._makers: dict[str, Make] = {
            TIME: eventtime.maker(profile.time, self._at),
            DEVICE: self._device(profile),
            **{field: self._field(contract.field(field), it) for field, it in profile.fields.items()},
        }

    def rows(self, batch: Batch) -> Mapped:
        """The batch as readings. Batches come in the file's order. ConfigError: no time of it has a zone."""
        numbers: Ints = batch.numbers.to_numpy()
        bad, first, notes = none(len(numbers)), dict[int, PoisonError](), list[pa.Array]()
        columns: dict[str, pa.Array] = {}
        for field, make in self._makers.items():
            try:
                part = make(batch)
            except ConfigError as e:
                raise ConfigError(f"{self._name}: {e}") from None
            columns[field] = part.values
            for row in np.flatnonzero(part.wrong & ~bad).tolist():
                first[row] = part.tell(row)
            bad |= part.wrong
            if part.sentinel is not None and part.sentinel.any():
                notes.append(pc.if_else(pa.array(part.sentinel), f"{field}:sentinel:null;", ""))
        if notes:
            joined = pc.utf8_rtrim(pc.binary_join_element_wise(*notes, ""), ";")  # skipping nulls loses rows (26.0.1)
            columns[QUALITY] = pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), joined)
        up, down = _TICKS[self._contract.field(TIME).time_unit]
        columns[TIME] = pa.array(columns[TIME] * up // down)
        if not first:
            return Mapped(numbers, columns, ())
        refused = tuple(Refused(int(numbers[r]), first[r], self._text(batch.rows, r)) for r in sorted(first))
        good = pa.array(~bad)
        return Mapped(numbers[~bad], {name: column.filter(good) for name, column in columns.items()}, refused)

    def _text(self, rows: pa.RecordBatch, row: int) -> bytes:
        names = [c.name or f"column {i}" for i, c in enumerate(self._table.columns, 1)]
        values = zip(names, (column[row].as_py() for column in rows.columns), strict=True)
        return orjson.dumps({name: value for name, value in values if value is not None}, default=str)

    def _at(self, column: str) -> int:
        if column not in self._place:
            known = ", ".join(filter(None, self._place))
            raise ConfigError(f"{self._name}: the profile names the column {column!r}. The file has {known}")
        return self._place[column]

    def _check(self, profile: Profile) -> None:
        ours = {*OURS, DEVICE, TIME}
        for field in profile.fields:
            if field not in self._contract or field in ours:
                known = ", ".join(f.name for f in self._contract.fields if f.name not in ours)
                raise ConfigError(f"fields.{field}: no such field. {self._contract.name} has {known}")
            columnar.arrow_type(self._contract.field(field).type)
        lacking = [f.name for f in self._contract.fields if not f.nullable and f.name not in {*ours, *profile.fields}]
        if lacking:
            raise ConfigError(
                f"every reading of {self._contract.name} needs {', '.join(lacking)}: name a column of each under "
                "`fields`, or one value for all rows"
            )

    def _field(self, field: Field, it: FieldFrom) -> Make:
        if it.value is not None:
            one = cells.read(pa.array([it.value]), field, self._written)
            if bool(one.wrong[0]):
                raise ConfigError(f"fields.{field.name}: {it.value!r} is no {field.kind}")
            value = one.values[0]
            return lambda batch: Part(
                pa.repeat(value, len(batch.numbers)), none(len(batch.numbers)), missing(field.name)
            )
        # What clean would not find: text among numbers, and numbers that a conversion changes.
        sentinels = tuple(s for s in field.sentinels if isinstance(s, str) or it.unit)
        at, written = self._at(it.column), self._written._replace(unit=it.unit, sentinels=sentinels)

        def make(batch: Batch) -> Part:
            column = batch.rows.column(at)
            found = cells.read(column, field, written)
            wrong = found.wrong
            if not field.nullable:
                wrong = wrong | found.values.is_null().to_numpy(zero_copy_only=False)
            return Part(found.values, wrong, _cell(field, column, written, found.sentinel), found.sentinel)

        return make

    def _device(self, profile: Profile) -> Make:
        if profile.device_column:
            at = self._at(profile.device_column)
            return lambda batch: _devices(batch.rows.column(at))
        device = profile.device.replace(STEM, stem(self._name))
        if profile.device_pattern:
            found = re.search(profile.device_pattern, self._name)
            if found is None or "device" not in found.groupdict():
                words = f"device_pattern: {profile.device_pattern!r} finds no group `device` in the file's name"
                raise ConfigError(f"{words} {self._name}")
            device = found["device"]
        if not is_device_id(device):
            raise ConfigError(f"{self._name}: {device!r} can't name a device: {ALPHABET}. Write its id as `device`")
        return lambda batch: Part(pa.repeat(device, len(batch.numbers)), none(len(batch.numbers)), missing(DEVICE))


def _cell(field: Field, column: pa.Array, written: Written, sentinel: Bools) -> Tell:
    def tell(row: int) -> PoisonError:
        cell = column[row].as_py()
        if sentinel[row]:
            words = f"{field.name}: {cell} says that there is no value, and each reading must have one"
            return PoisonError(Reason.SENTINEL, words, field=field.name, value=str(cell))
        if cell is None or str(cell) in written.nothing:
            return missing(field.name)(row)
        hint = _HINT if _COMMA.fullmatch(str(cell)) and written.decimal == "." else ""
        words = f"{field.name}: {str(cell)[:80]!r} is no {field.logical or field.kind}{hint}"
        return PoisonError(Reason.WRONG_TYPE, words, field=field.name, value=str(cell))

    return tell


def _devices(column: pa.Array) -> Part:
    text = column.cast(pa.string())
    good = pc.fill_null(pc.match_substring_regex(text, r"^[A-Za-z0-9_-]{1,64}$"), fill_value=False)

    def tell(row: int) -> PoisonError:
        cell = text[row].as_py()
        if cell is None:
            return missing(DEVICE)(row)
        return PoisonError(Reason.BAD_NAME, f"{DEVICE}: {cell[:80]!r} is not {ALPHABET}", field=DEVICE, value=cell)

    return Part(text, ~good.to_numpy(zero_copy_only=False), tell)
