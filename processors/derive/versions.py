"""What the rows of a derived stream were made by and are made by: the function and the contract, in versions.

A version is `<digest of the function's text>.<schema id of the rows>`. Like those of clean's transforms, a version is
committed before it is used, and the text lies in the store by then, so that rows that may have been made already are
made again by the same one.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from headrace.config import Config
from headrace.errors import ConfigError
from headrace.protocol.clean_note import MAX_VERSIONS, CleanNote, Version, renewed
from headrace.protocol.versions import FOLDER, shown
from headrace.store.base import ObjectStore
from headrace.transforms.code import Code, read
from headrace.transforms.run import Transform
from processors.group.texts import Texts, too_many


class Making(NamedTuple):
    """How rows are made."""

    transform: Transform
    schema_id: int  # of the rows


class Versions:
    """Every version of one derived stream that is in use."""

    def __init__(self, config: Config, stream: str, store: Callable[[], ObjectStore]) -> None:
        """Load the function that the configuration names: ConfigError if it can't be. `store` opens the store."""
        wanted = config.streams[stream].transform
        assert wanted is not None, "checked before"
        self._stream = stream
        self._wanted = Transform(read(wanted))
        self._loaded = {self._wanted.code.digest: self._wanted}
        self._texts = Texts(store, "derive")

    def noted(self, note: CleanNote, at: int, schema_id: int, emitted: Callable[[], int]) -> CleanNote:
        """The note to begin a partition with at offset `at`: `note` itself, or one to be committed before it is used.

        `schema_id`: with which new rows are written. `emitted()`: the highest offset that a row or letter was emitted
        of. ConfigError, with the remedy, if a version that is needed is not to be had; TransientError while the store
        is away.
        """
        wanted = f"{self._wanted.code.digest}.{schema_id}"
        # Before the first there was none: rows that were emitted before offsets were forgotten are known by position.
        versions = renewed(note.versions or (Version(at, wanted),), wanted, at, emitted)
        if len(versions) > MAX_VERSIONS:
            last = f"version {shown(_digest(versions[-2].digest))}"
            raise ConfigError(too_many(self._stream, "transform or contract", "derive", len(versions), last))
        if versions == note.versions:
            made = note
        else:
            self._texts.keep(f"{self._wanted.code.digest}.py", self._wanted.code.text)
            made = replace(note, versions=versions)
        for version in versions:
            self._load(_digest(version.digest))
        return made

    def of(self, version: str) -> Making:
        """What rows of a version are made by."""
        return Making(self._loaded[_digest(version)], int(version.rpartition(".")[2]))

    def _load(self, digest: str) -> None:
        if digest not in self._loaded:
            name = f"{digest}.py"
            text = self._texts.get(self._stream, name, "transform")
            self._loaded[digest] = Transform(Code(text, f"{FOLDER}/{name}"))


def _digest(version: str) -> str:
    return version.partition(".")[0]
