"""How a file would become readings by a profile, tried without sending anything."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from headrace.contracts.model import Contract
from headrace.errors import ConfigError
from headrace.protocol.names import DEVICE, TIME
from headrace.readers import formats
from headrace.readers.base import Reader, Table
from headrace.readers.source import Source
from headrace.uploads.mapping import Mapped, RowMapping
from headrace.uploads.profile import Profile

Open = Callable[[Source, Mapping[str, str], str], Reader]


class Example(NamedTuple):
    """The first row of a kind. `where`: its number, or its line; `words`: what is wrong with it."""

    where: str
    words: str


@dataclass
class Trial:
    """A table of a file, tried. Each row is a reading, refused (it would be a dead letter), or left out."""

    name: str
    format: str
    table: Table
    dialect: dict[str, str]
    readings: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by field and reason
    left_out: Counter[str] = field(default_factory=Counter)  # by reason
    examples: dict[str, Example] = field(default_factory=dict)  # of each of both
    first: list[dict[str, Any]] = field(default_factory=list)  # readings, as they would be stored
    devices: set[str] = field(default_factory=set)
    begin: int | None = None  # of the event times, microseconds since 1970 UTC
    end: int | None = None

    @property
    def rows(self) -> int:
        """All rows of the table."""
        return self.readings + self.refused.total() + self.left_out.total()


def attempt(
    source: Source,
    profile: Profile,
    contract: Contract,
    open_file: Open = formats.open_file,
    shown: int = 5,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Trial]:
    """Read a whole file by a profile, each of its tables. `progress` is told the bytes read so far.

    `open_file`: such as that of headrace.readers.apart, for files of strangers.

    ConfigError: the file can't be read, or the profile does not fit it.
    """
    name = profile.format or formats.recognise(source)
    reader = open_file(source, profile.dialect, name)
    try:
        out = []
        for number, table in enumerate(reader.tables):
            header = tuple(c.name for c in table.columns)
            if not profile.fits(source.name, header):
                raise ConfigError(
                    f"{source.name}: its columns are {', '.join(header)}, and the profile is for files with "
                    f"{', '.join(profile.header)}. Take another profile, or leave out `header`"
                )
            it = Trial(source.name, name, table, reader.dialect)
            mapping = RowMapping(profile, contract, table, source.name, reader.dialect)
            for batch in reader.batches(number):
                _count(it, mapping.rows(batch), shown)
                for left in batch.left_out:
                    it.left_out[left.reason] += 1
                    it.examples.setdefault(left.reason, Example(left.place, left.text))
                progress(batch.done)
            out.append(it)
        return out
    finally:
        reader.close()


def _count(it: Trial, found: Mapped, shown: int) -> None:
    it.readings += len(found.numbers)
    for row in found.refused:
        kind = f"{row.error.field}: {row.error.reason}"
        it.refused[kind] += 1
        it.examples.setdefault(kind, Example(f"row {row.number}", str(row.error)))
    if not len(found.numbers):
        return
    ends = pc.min_max(found.columns[TIME]).as_py()
    it.begin = ends["min"] if it.begin is None else min(it.begin, ends["min"])
    it.end = ends["max"] if it.end is None else max(it.end, ends["max"])
    it.devices |= set(pc.unique(found.columns[DEVICE]).to_pylist())
    if len(it.first) < shown:
        it.first += pa.table(found.columns).slice(0, shown - len(it.first)).to_pylist()
