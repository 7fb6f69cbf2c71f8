"""From a row of a CSV file to an MQTT message: which column is which field of the contract."""

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta, tzinfo
from typing import NamedTuple

from headrace.contracts.model import Contract
from headrace.errors import ConfigError
from headrace.protocol.filters import CAPTURE
from headrace.protocol.names import DEVICE, OURS, TIME, is_device_id
from headrace.readers.celltimes import EPOCH
from headrace.readers.source import stem
from headrace.recordings.cells import ReadTime, converter, text, time_reader
from headrace.recordings.table import Table

_UNITS_OF_MICROSECONDS = {"us": 1, "ms": 1_000, "s": 1_000_000}


@dataclass(frozen=True)
class Options:
    """How the columns of a file are to be read. Empty: as the header and the contract say."""

    columns: Mapping[str, str] = field(default_factory=dict)  # column to field
    time: str = ""  # COL[+COL...]:FORMAT
    zone: tzinfo = UTC
    device: str = ""  # may contain {stem}; when empty the column device_id, else {stem}
    device_column: str = ""
    constants: Mapping[str, str] = field(default_factory=dict)  # field or capture to value
    decimal_comma: bool = False


class Outgoing(NamedTuple):
    """A row as a device would send it. `time_us` is its event time, where --time names it."""

    device: str
    topic: str
    payload: bytes
    time_us: int | None


class RowMapping:
    """Makes messages of one table's rows. `topic` may contain {device_id} and other fields in braces.

    The constructor checks what can be known from the header. ConfigError: a column or a field does not exist, nothing
    gives event_time, a required field or a part of the topic has no value.
    """

    def __init__(self, table: Table, contract: Contract, topic: str, options: Options) -> None:
        self._table = table
        self._where = str(table.path)
        self._place = {name: i for i, name in enumerate(table.columns) if name}
        self._time: ReadTime | None = None
        self._time_at: tuple[int, ...] = ()
        if options.time:
            names, form = split_time(options.time, tuple(self._place))
            self._time_at = tuple(self._at(name, "--time") for name in names)
            self._time = time_reader(form, options.zone)
            unit = contract.field(TIME).time_unit
            self._time_divisor = _UNITS_OF_MICROSECONDS.get(unit, 1)
            self._time_factor = 1000 if unit == "ns" else 1
        self._device_column = options.device_column or (DEVICE if DEVICE in self._place and not options.device else "")
        fields = self._fields(contract, options)
        self._device = self._device_reader(options)
        if self._time is None and TIME not in fields.values():
            raise ConfigError(f"{self._where}: no column gives the event time. Add --time COLUMN:FORMAT")
        comma = options.decimal_comma or table.decimal_comma
        self._cells = [
            (self._place[column], f'"{name}":', converter(contract.field(name), decimal_comma=comma))
            for column, name in fields.items()
        ]
        used = {*fields, *(table.columns[i] for i in self._time_at), self._device_column}
        self.left_out = tuple(name for name in self._place if name not in used)
        self._constants = "".join(
            f',"{name}":{converter(contract.field(name))(value)}'
            for name, value in options.constants.items()
            if name in contract
        )
        self._topic = self._topic_maker(topic, contract, fields, options)
        given = {DEVICE, TIME, *fields.values(), *options.constants, *CAPTURE.findall(topic)}
        lacking = [name for name in _required(contract) if name not in given]
        if lacking:
            raise ConfigError(
                f"{self._where}: every reading of {contract.name} needs {', '.join(lacking)}, and no column gives it. "
                f"Map one (--map COLUMN={lacking[0]}), or set it for all rows (--set {lacking[0]}=VALUE)"
            )
        self._name_device = f"{{{DEVICE}}}" not in topic

    def devices(self) -> set[str]:
        """The devices of all rows. Reads the file where a column names them."""
        if not self._device_column:
            return {self._device([])}
        table = replace(self._table, left_out=Counter(), first={})  # what it counts is counted when rows are sent
        return {device for _, row in table.rows() if is_device_id(device := self._device(row))}

    def message(self, line: int, row: list[str]) -> Outgoing | None:
        """The row as a message. None when it can't be one: the table then counts it with the reason."""
        device = self._device(row)
        if not is_device_id(device):
            self._table.omit(line, f"device id {device!r:.80} is not allowed (letters, digits, _ and -; 64 at most)")
            return None
        when: int | None = None
        parts: list[str] = [f'"{DEVICE}":{text(device)}'] if self._name_device else []
        if self._time is not None:
            cell = " ".join([row[i].strip() for i in self._time_at])
            try:
                when = self._time(cell)
            except (ValueError, OverflowError):
                self._table.omit(line, "no event time" if not cell.strip() else "the event time does not fit --time")
                return None
            parts.append(f'"{TIME}":{self._time_json(when)}')
        fixed = len(parts)
        for at, key, convert in self._cells:
            if cell := row[at].strip():
                parts.append(key + convert(cell))
        if len(parts) == fixed:
            self._table.omit(line, "no values")
            return None
        topic = self._topic(device, row)
        if topic is None:
            self._table.omit(line, "a value for the topic is empty or contains one of / + #")
            return None
        return Outgoing(device, topic, ("{" + ",".join(parts) + self._constants + "}").encode(), when)

    def _time_json(self, when: int) -> str:
        """Microseconds as JSON, in the unit of the contract's event_time; ISO 8601 text when digits would be lost."""
        if self._time_divisor == 1:
            return str(when * self._time_factor)
        whole, rest = divmod(when, self._time_divisor)
        return str(whole) if rest == 0 else f'"{(EPOCH + timedelta(microseconds=when)).isoformat()}"'

    def _at(self, column: str, option: str) -> int:
        if column not in self._place:
            known = ", ".join(self._place)
            raise ConfigError(
                f"{self._where}: {option} names the column {column!r}{_close(column, self._place)}. "
                f"The columns: {known}"
            )
        return self._place[column]

    def _fields(self, contract: Contract, options: Options) -> dict[str, str]:
        """Column to field: as the options say, else the field with the column's name or alias."""
        known = {f.name: f.name for f in contract.fields if f.name not in OURS}
        known |= {alias: f.name for f in contract.fields for alias in f.aliases}
        out: dict[str, str] = {}
        for column, name in options.columns.items():
            self._at(column, "--map")
            if name not in contract or name in OURS:
                raise ConfigError(
                    f"--map {column}={name}: the contract {contract.name} has no field {name!r}{_close(name, known)}"
                )
            out[column] = name
        for column in [c for c, name in out.items() if name == DEVICE]:
            del out[column]
            self._device_column = column
        for name in options.constants:
            if name in OURS:
                raise ConfigError(f"--set {name}: Headrace itself writes this field")
        taken = {*out.values(), *options.constants, DEVICE, *([TIME] if self._time else [])}
        used = {self._table.columns[i] for i in self._time_at} | {self._device_column}
        for column in self._place:
            if column in known and column not in out and column not in used and known[column] not in taken:
                out[column] = known[column]
        twice = [name for name in set(out.values()) if list(out.values()).count(name) > 1]
        if twice:
            raise ConfigError(f"{self._where}: two columns give the field {twice[0]}. Map one of them to another field")
        if TIME in out.values() and self._time is not None:
            raise ConfigError("--map and --time both give the event time. Leave out one")
        if not set(out.values()) - {TIME, DEVICE}:
            raise ConfigError(
                f"{self._where}: no column is a field of {contract.name}. Name the fields: --map COLUMN=FIELD,... "
                f"The columns: {', '.join(self._place)}. The fields: {', '.join(known)}"
            )
        return out

    def _device_reader(self, options: Options) -> Callable[[list[str]], str]:
        if self._device_column:
            at = self._at(self._device_column, "--device-column")
            return lambda row: row[at].strip()
        device = (options.device or "{stem}").replace("{stem}", stem(self._table.path.name))
        if not is_device_id(device):
            raise ConfigError(
                f"{self._where}: {device!r} can't name a device: letters, digits, _ and -, 64 at most. Give --device"
            )
        return lambda _: device

    def _topic_maker(
        self, topic: str, contract: Contract, fields: Mapping[str, str], options: Options
    ) -> Callable[[str, list[str]], str | None]:
        """A function from (device, row) to the topic, or to None when a value can't be a part of one."""
        if any(level in ("+", "#") for level in topic.split("/")):
            raise ConfigError(f"the stream's route {topic!r} has a wildcard. Name the topic to publish to: --topic")
        column_of = {name: self._place[column] for column, name in fields.items()}
        captures = [c for c in CAPTURE.findall(topic) if c != DEVICE]
        for name in captures:
            if name not in column_of and name not in options.constants:
                raise ConfigError(
                    f"the topic {topic!r} needs a value for {name}: --set {name}=VALUE, or map a column to it"
                )
        for name in options.constants:
            if name not in contract and name not in captures:
                raise ConfigError(f"--set {name}: neither a field of {contract.name} nor a part of the topic {topic!r}")
        fixed = CAPTURE.sub(lambda m: options.constants.get(m[1], m[0]), topic)
        varying = [(f"{{{c}}}", column_of[c]) for c in captures if c not in options.constants]

        def make(device: str, row: list[str]) -> str | None:
            out = fixed.replace(f"{{{DEVICE}}}", device)
            for mark, at in varying:
                value = row[at].strip()
                if not value or set(value) & set("/+#\0"):
                    return None
                out = out.replace(mark, value)
            return out

        return make


def split_time(text: str, columns: tuple[str, ...]) -> tuple[list[str], str]:
    """Column names and format of COL[+COL...]:FORMAT. `columns`: the header, whose names may contain + and : too."""
    for end in (i for i, c in enumerate(text) if c == ":"):
        left, form = text[:end], text[end + 1 :]
        names = [left] if left in columns else left.split("+")
        if all(name in columns for name in names) and form:
            return names, form
    left, _, form = text.partition(":")
    if not left or not form:
        raise ConfigError(f"--time {text}: write it as COLUMN:FORMAT, such as timestamp:ms or Date+Time:%d/%m/%Y %H:%M")
    return left.split("+"), form


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """The pairs in texts such as `a=b,c=d`, as a dict. `option` names them in the ConfigError for anything else."""
    out: dict[str, str] = {}
    for part in (p.strip() for t in texts for p in t.split(",") if p.strip()):
        left, equals, right = part.rpartition("=")
        if not (left.strip() and equals and right.strip()):
            raise ConfigError(f"{option} {part}: write it as NAME=NAME, with commas between several")
        if left.strip() in out:
            raise ConfigError(f"{option}: {left.strip()} is given twice")
        out[left.strip()] = right.strip()
    return out


def _required(contract: Contract) -> list[str]:
    return [
        f["name"] for f in contract.schema["fields"] if "default" not in f and not contract.field(f["name"]).nullable
    ]


def _close(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""
