"""Every format that is read, by its name in a profile, and which of them a file is.

To add one: a file beside this one with two functions, `suits(head, name)` and `open_file(source, options)`; a line in
READERS, before those that take almost anything; its row in docs/files.md; tests with a file that another program wrote.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import NamedTuple, Protocol, cast

from headrace.errors import ConfigError
from headrace.readers.base import Reader
from headrace.readers.source import Source


class Format(Protocol):
    """The module of a format."""

    def suits(self, head: bytes, name: str) -> bool:
        """Whether a file that begins with `head`, of this name without .gz, is of the format."""

    def open_file(self, source: Source, options: Mapping[str, str]) -> Reader:
        """Read what stands before the rows. ConfigError: it is not such a file, or an option is wrong.

        `options` are words of a profile; what they leave open is found in the file.
        """


class Known(NamedTuple):
    """A format: the module that reads it, and what people call it."""

    module: str
    words: str


READERS: dict[str, Known] = {
    "parquet": Known("parquet", "Parquet, Arrow and Feather"),
    "wave": Known("wave", "WAV"),
    "gt3x": Known("gt3x", "ActiGraph's gt3x"),
    "edf": Known("edf", "EDF and BDF"),
    "activity": Known("activity", "Axivity's cwa and GENEActiv's bin"),
    "hdf5": Known("hdf5", "HDF5 and MAT 7.3"),
    "excel": Known("excel", "XLSX, XLS and ODS"),
    "senml": Known("senml", "SenML in JSON"),
    "jsonlines": Known("jsonlines", "JSON lines or a list of JSON objects"),
    "csv": Known("delimited", "CSV, TSV and other text in columns"),
}


def module(name: str) -> Format:
    """The module of a format by its name. ConfigError for a name that is none."""
    if name not in READERS:
        raise ConfigError(f"format: {name!r} is none of {', '.join(READERS)}")
    return cast("Format", import_module(f"headrace.readers.{READERS[name].module}"))


def recognise(source: Source) -> str:
    """The name of the file's format. ConfigError where it is none that is known."""
    head = source.head()
    for name in READERS:
        if module(name).suits(head, source.name):
            return name
    known = "; ".join(it.words for it in READERS.values())
    raise ConfigError(f"{source.path}: not a file of a format that is known ({known})")


def open_file(source: Source, options: Mapping[str, str], name: str = "") -> Reader:
    """The file, opened by the reader of its format, or of the format called `name`."""
    openers: Callable[[Source, Mapping[str, str]], Reader] = module(name or recognise(source)).open_file
    return openers(source, options)
