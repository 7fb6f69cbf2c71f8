"""The transforms of the streams that clean runs, each in the versions that rows were made by and are made by.

A version is known by the digest of its text. The text is kept in the store before the digest is committed, so that
whoever redoes rows that a version may have made already can make them by the same one.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from headrace.config import Config
from headrace.contracts.model import Field
from headrace.errors import ConfigError, FatalError
from headrace.protocol.clean_note import MAX_VERSIONS, CleanNote, Versions, adopt, since
from headrace.store.base import ObjectStore
from headrace.transforms.code import SHOWN_DIGITS, Code, read
from headrace.transforms.run import Result, Transform
from headrace.transforms.table import Columns

FOLDER = "_transforms"  # in the bucket: <digest>.py
_CHECKED_ROWS = 200  # of each version and schema, until it counts as row-wise


class Transforms:
    """Every version in use, by its digest."""

    def __init__(self, config: Config, store: Callable[[], ObjectStore]) -> None:
        """Read and load what the configuration names: ConfigError if it can't be. `store` opens the store."""
        paths = {stream: config.streams[stream].transform for stream in config.cleaned}
        self._wanted = {stream: Transform(read(path)) for stream, path in paths.items() if path is not None}
        self._loaded = {it.code.digest: it for it in self._wanted.values()}
        self._kept: set[str] = set()
        self._checked: Counter[tuple[str, int]] = Counter()
        self._store = store

    def wanted(self, stream: str) -> str:
        """The digest of the version that the configuration names for a stream; empty for none."""
        return self._wanted[stream].code.digest if stream in self._wanted else ""

    def noted(self, stream: str, note: CleanNote, at: int, emitted: Callable[[], int]) -> CleanNote:
        """The note to begin a partition of the stream with: `note` itself, or one to be committed before it is used.

        `at`: the offset that it is for. `emitted()`: the highest raw offset that a row or a
        letter was emitted of. Rows up to there are made by the version that was noted for them, and those after it by
        the wanted one.
        ConfigError, with the remedy, if a version that is needed is not to be had; TransientError while the store is
        away.
        """
        wanted = self.wanted(stream)
        versions = note.versions
        if wanted != (versions[-1].digest if versions else ""):
            versions = since(adopt(versions, max(at, emitted() + 1), wanted), at)
        if len(versions) > MAX_VERSIONS:
            raise ConfigError(_too_many(stream, versions))
        if versions != note.versions and wanted:
            self._keep(wanted)
        for version in versions:
            if version.digest and version.digest not in self._loaded:
                self._loaded[version.digest] = self._load(stream, version.digest)
        return note if versions == note.versions else replace(note, versions=versions)

    def run(
        self,
        digest: str,
        schema_id: int,
        fields: Sequence[Field],
        columns: Columns,
        alive: Callable[[], object],
    ) -> Result:
        """What a version makes of rows. ConfigError if it is seen not to be row-wise."""
        it, seen = self._loaded[digest], (digest, schema_id)
        if self._checked[seen] < _CHECKED_ROWS:
            some = {name: values[:_CHECKED_ROWS] for name, values in columns.items()}
            it.check(fields, some, alive)
            self._checked[seen] += len(next(iter(some.values())))
        return it.run(fields, columns, alive)

    def _keep(self, digest: str) -> None:
        if digest not in self._kept:
            self._store().put(_key(digest), self._loaded[digest].code.text.encode(), if_absent=True)
            self._kept.add(digest)

    def _load(self, stream: str, digest: str) -> Transform:
        key, store = _key(digest), self._store()
        remedy = (
            f"streams.{stream}: rows are to be made again by version {digest[:SHOWN_DIGITS]} of its transform, "
            f"which is not in the store as {key}. Put that text there; or set the transform back to it, start clean "
            "until it has no lag, and stop it before you change the transform"
        )
        if not store.exists(key):
            raise ConfigError(remedy)
        try:
            code = Code(store.get(key).decode(), key)
        except (FatalError, UnicodeDecodeError):
            raise ConfigError(remedy) from None
        if code.digest != digest:
            raise ConfigError(f"{remedy}. What is there is version {code.digest[:SHOWN_DIGITS]}")
        return Transform(code)


def _key(digest: str) -> str:
    return f"{FOLDER}/{digest}.py"


def _too_many(stream: str, versions: Versions) -> str:
    last = f"version {versions[-2].digest[:SHOWN_DIGITS]}" if versions[-2].digest else "to no transform"
    return (
        f"streams.{stream}.transform: it was changed {len(versions) - 1} times, and clean ended each time before "
        f"it had committed a batch. Set it back ({last}), start clean until it has no lag, and change it then"
    )
