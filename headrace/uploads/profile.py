"""A profile: how files of one kind are read, and what their columns are. Written by people, or by `headrace upload`.

Two readings of a file with the same profile give the same rows: what a profile leaves open is found in the file, and
found the same each time.
"""

import fnmatch
import hashlib
from pathlib import Path

import orjson
from pydantic import Field, ValidationError, model_validator

from headrace.config.base import Section
from headrace.config.load import read_yaml
from headrace.contracts.kinds import NO_VALUE
from headrace.errors import ConfigError

STEM = "{stem}"  # in `device`: the file's name without its endings


class TimeFrom(Section):
    """What gives the event time: columns, or a start and a rate."""

    columns: tuple[str, ...] = Field(
        (), description="of the file; several are joined by a blank, such as date and time"
    )
    form: str = Field("iso", description="s, ms, us, ns (since 1970), iso, or a format of strptime")
    zone: str = Field("", description="of times without one: an IANA name, such as Europe/Berlin")
    start: str = Field("", description="of row 0, ISO 8601, where no column has times")
    rate: float | None = Field(
        None, gt=0, description="rows a second from `start`; with columns: of the rows that share a time"
    )
    offset: float = Field(0.0, description="seconds to add: by how much the clock was behind")
    anchors: tuple[tuple[str, str], ...] = Field(
        (), description="two moments, each [what the clock said, when it was], ISO 8601: a clock that drifted"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> "TimeFrom":
        if bool(self.columns) == bool(self.start):
            raise ValueError("give columns that hold the time, or start and rate")
        if self.start and self.rate is None:
            raise ValueError("start needs a rate: how many rows a second")
        if self.anchors and (len(self.anchors) != 2 or self.offset):
            raise ValueError("give two anchors, or an offset, not both")
        return self


class FieldFrom(Section):
    """What gives a field of the contract: a column, or one value for all rows."""

    column: str = ""
    unit: str = Field("", description="of the column's numbers, where it is not the contract's")
    value: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> "FieldFrom":
        if bool(self.column) == (self.value is not None):
            raise ValueError("give column or value, one of the two")
        return self


class Profile(Section):
    """How files of one kind become readings of a stream."""

    stream: str
    match: str = Field("*", description="names of files that it is for, such as *_sw.csv")
    header: tuple[str, ...] = Field((), description="the columns of such a file; empty: any")
    format: str = Field("", description="the format's name; empty: recognised")
    dialect: dict[str, str] = Field({}, description="options of the format's reader; what is left open is recognised")
    device: str = Field(STEM, description="the device's id; {stem} is the file's name without its endings")
    device_column: str = Field("", description="the column that has the device's id, instead")
    device_pattern: str = Field(
        "", description="a regular expression on the file's name, whose group `device` is the id"
    )
    time: TimeFrom
    fields: dict[str, FieldFrom]
    nothing: tuple[str, ...] = Field(tuple(sorted(NO_VALUE)), description="what stands where there is no number")

    @property
    def digest(self) -> str:
        """Of all that decides what the rows are. Which files it is for is not part of it."""
        data = self.model_dump(mode="json", exclude={"match", "header"})
        return hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def is_for(self, name: str) -> bool:
        """Whether it is for files of this name."""
        return fnmatch.fnmatchcase(name, self.match)

    def fits(self, name: str, header: tuple[str, ...]) -> bool:
        """Whether it is for files of this name with these columns."""
        return self.is_for(name) and (not self.header or self.header == header)


def load(path: Path) -> Profile:
    """The profile in a YAML file. ConfigError, with key and remedy, where it is none."""
    try:
        return Profile.model_validate(read_yaml(path))
    except ValidationError as e:
        wrong = [f"{path}: {'.'.join(map(str, it['loc'])) or 'the profile'}: {it['msg']}" for it in e.errors()]
        raise ConfigError("\n".join(wrong)) from None
