"""Which column of a file is which field of the contract, and from a row to an MQTT message."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, timedelta, tzinfo
from typing import NamedTuple

from headrace.contracts.model import QUALITY, Contract
from headrace.errors import ConfigError
from headrace.names import is_device_id
from headrace.tools.cells import EPOCH, ReadTime, converter, text, time_reader
from headrace.tools.csvread import Table, stem

CAPTURE = re.compile(r"\{([A-Za-z_]\w*)\}")
TIME, DEVICE = "event_time", "device_id"
_UNITS_OF_MICROSECONDS = {"us": 1, "ms": 1_000, "s": 1_000_000}


@dataclass(frozen=True)
class Wishes:
    """What the user said about the columns of a file."""

    columns: Mapping[str, str] = field(default_factory=dict)  # column to field
    time: str = ""  # COL[+COL...]:FORMAT
    zone: tzinfo = UTC
    device: str = ""  # may hold {stem}; a column called device_id, else {stem}, when empty
    device_column: str = ""
    constants: Mapping[str, str] = field(default_factory=dict)  # field or capture to value
    decimal_comma: bool = False


class Outgoing(NamedTuple):
    """A row as a device would send it. `time_us` is its event time, where --time names it."""

    topic: str
    payload: bytes
    time_us: int | None


class Plan:
    """How the rows of one table become messages. Making it checks everything that the header can tell.

    Raises ConfigError for columns and fields that do not exist, for a reading without event_time, and for a topic
    that can't be filled in.
    """

    def __init__(self, table: Table, contract: Contract, topic: str, wishes: Wishes) -> None:
        self._table = table
        self._where = str(table.path)
        self._place = {name: i for i, name in enumerate(table.columns) if name}
        self._time: ReadTime | None = None
        self._time_at: tuple[int, ...] = ()
        if wishes.time:
            names, form = split_time(wishes.time, tuple(self._place))
            self._time_at = tuple(self._at(name, "--time") for name in names)
            self._time = time_reader(form, wishes.zone)
            unit = contract.field(TIME).time_unit
            self._time_divisor = _UNITS_OF_MICROSECONDS.get(unit, 1)
            self._time_factor = 1000 if unit == "ns" else 1
        self._device_column = wishes.device_column or (DEVICE if DEVICE in self._place and not wishes.device else "")
        fields = self._fields(contract, wishes)
        self._device = self._device_reader(wishes)
        if self._time is None and TIME not in fields.values():
            raise ConfigError(f"{self._where}: no column gives the event time. Say --time COLUMN:FORMAT")
        self._cells = [
            (self._place[column], f'"{name}":', converter(contract.field(name), decimal_comma=wishes.decimal_comma))
            for column, name in fields.items()
        ]
        used = {*fields, *(table.columns[i] for i in self._time_at), self._device_column}
        self.left_out = tuple(name for name in self._place if name not in used)
        self._constants = "".join(
            f',"{name}":{converter(contract.field(name))(value)}'
            for name, value in wishes.constants.items()
            if name in contract
        )
        self._topic = self._topic_maker(topic, contract, fields, wishes)
        given = {DEVICE, TIME, *fields.values(), *wishes.constants, *CAPTURE.findall(topic)}
        lacking = [name for name in _required(contract) if name not in given]
        if lacking:
            raise ConfigError(
                f"{self._where}: every reading of {contract.name} has {', '.join(lacking)}, and no column gives it. "
                f"Map one (--map COLUMN={lacking[0]}), or set it for all rows (--set {lacking[0]}=VALUE)"
            )
        self._name_device = f"{{{DEVICE}}}" not in topic

    def message(self, line: int, row: list[str]) -> Outgoing | None:
        """The row as a message; None, counted in the table with its reason, where it can't be one."""
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
            self._table.omit(line, "a value for the topic is empty or holds one of / + #")
            return None
        return Outgoing(topic, ("{" + ",".join(parts) + self._constants + "}").encode(), when)

    def _time_json(self, when: int) -> str:
        """The time in the unit in which the contract reads numbers, with all its digits."""
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

    def _fields(self, contract: Contract, wishes: Wishes) -> dict[str, str]:
        """Column to field: what the user said, else the field or alias of the column's own name."""
        known = {f.name: f.name for f in contract.fields if f.name != QUALITY}
        known |= {alias: f.name for f in contract.fields for alias in f.aliases}
        out: dict[str, str] = {}
        for column, name in wishes.columns.items():
            self._at(column, "--map")
            if name not in contract or name == QUALITY:
                raise ConfigError(
                    f"--map {column}={name}: the contract {contract.name} has no field {name!r}{_close(name, known)}"
                )
            out[column] = name
        for column in [c for c, name in out.items() if name == DEVICE]:
            del out[column]
            self._device_column = column
        for name in wishes.constants:
            if name == QUALITY:
                raise ConfigError(f"--set {name}: not a field to be sent")
        taken = {*out.values(), *wishes.constants, DEVICE, *([TIME] if self._time else [])}
        used = {self._table.columns[i] for i in self._time_at} | {self._device_column}
        for column in self._place:
            if column in known and column not in out and column not in used and known[column] not in taken:
                out[column] = known[column]
        twice = [name for name in set(out.values()) if list(out.values()).count(name) > 1]
        if twice:
            raise ConfigError(f"{self._where}: two columns go to the field {twice[0]}. Map one of them")
        if TIME in out.values() and self._time is not None:
            raise ConfigError("--map and --time both give the event time. Leave one out")
        if not set(out.values()) - {TIME, DEVICE}:
            raise ConfigError(
                f"{self._where}: no column is a field of {contract.name}. Say which is which: --map COLUMN=FIELD,... "
                f"The columns: {', '.join(self._place)}. The fields: {', '.join(known)}"
            )
        return out

    def _device_reader(self, wishes: Wishes) -> Callable[[list[str]], str]:
        if self._device_column:
            at = self._at(self._device_column, "--device-column")
            return lambda row: row[at].strip()
        device = (wishes.device or "{stem}").replace("{stem}", stem(self._table.path))
        if not is_device_id(device):
            raise ConfigError(
                f"{self._where}: {device!r} can't name a device: letters, digits, _ and -, 64 at most. Give --device"
            )
        return lambda _: device

    def _topic_maker(
        self, topic: str, contract: Contract, fields: Mapping[str, str], wishes: Wishes
    ) -> Callable[[str, list[str]], str | None]:
        """From (device, row) to the topic; None where a value can't stand in one."""
        if any(level in ("+", "#") for level in topic.split("/")):
            raise ConfigError(f"the stream's route {topic!r} holds a wildcard: say what to publish to with --topic")
        column_of = {name: self._place[column] for column, name in fields.items()}
        captures = [c for c in CAPTURE.findall(topic) if c != DEVICE]
        for name in captures:
            if name not in column_of and name not in wishes.constants:
                raise ConfigError(
                    f"the topic {topic!r} needs a value for {name}: --set {name}=VALUE, or map a column to it"
                )
        for name in wishes.constants:
            if name not in contract and name not in captures:
                raise ConfigError(f"--set {name}: neither a field of {contract.name} nor a part of the topic {topic!r}")
        fixed = CAPTURE.sub(lambda m: wishes.constants.get(m[1], m[0]), topic)
        varying = [(f"{{{c}}}", column_of[c]) for c in captures if c not in wishes.constants]

        def make(device: str, row: list[str]) -> str | None:
            out = fixed.replace(f"{{{DEVICE}}}", device)
            for mark, at in varying:
                value = row[at].strip()
                if not value or set(value) & set("/+#\0"):
                    return None
                out = out.replace(mark, value)
            return out

        return make


def split_time(wish: str, columns: tuple[str, ...]) -> tuple[list[str], str]:
    """Column names and format of COL[+COL...]:FORMAT. Names of the header may themselves hold a plus or a colon."""
    for end in (i for i, c in enumerate(wish) if c == ":"):
        left, form = wish[:end], wish[end + 1 :]
        names = [left] if left in columns else left.split("+")
        if all(name in columns for name in names) and form:
            return names, form
    left, _, form = wish.partition(":")
    if not left or not form:
        raise ConfigError(f"--time {wish}: write it as COLUMN:FORMAT, such as timestamp:ms or Date+Time:%d/%m/%Y %H:%M")
    return left.split("+"), form


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """`a=b,c=d`, in one text or several, as a dict; ConfigError for anything else."""
    out: dict[str, str] = {}
    for part in (p.strip() for t in texts for p in t.split(",") if p.strip()):
        left, equals, right = part.rpartition("=")
        if not (left.strip() and equals and right.strip()):
            raise ConfigError(f"{option} {part}: write it as NAME=NAME, several parted by commas")
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
