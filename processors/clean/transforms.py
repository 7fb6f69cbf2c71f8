"""What the rows of the streams that clean runs were made by and are made by: transforms and calibrations, in versions.

A version is known by the digests of its texts. They are kept in the store before it is committed, so that whoever
redoes rows that it may have made already can make them by the same one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from headrace.config import Config
from headrace.contracts import calibration
from headrace.contracts.model import Field, parse
from headrace.errors import ConfigError
from headrace.protocol.clean_note import MAX_VERSIONS, CleanNote, Versions, renewed
from headrace.protocol.versions import FOLDER, Parts, named, parts_of, shown
from headrace.store.base import ObjectStore
from headrace.transforms.calibrate import Calibration
from headrace.transforms.code import Code, read
from headrace.transforms.run import Result, Transform
from headrace.transforms.table import Columns
from processors.clean.calibrating import Devices
from processors.group.firstrows import FirstRows
from processors.group.texts import Texts, too_many

Calibrating = tuple[Calibration, Devices]


class Transforms:
    """Every version in use, by its name."""

    def __init__(self, config: Config, store: Callable[[], ObjectStore]) -> None:
        """Read and load what the configuration names: ConfigError if it can't be. `store` opens the store."""
        self._transforms: dict[str, Transform] = {}
        self._calibrations: dict[str, Calibrating] = {}
        self._wanted = {stream: self._read(config, stream) for stream in config.cleaned}
        self._first = FirstRows()
        self._texts = Texts(store, "clean")

    def _read(self, config: Config, stream: str) -> str:
        it = config.streams[stream]
        # Those of a derived stream's rows are derive's.
        own = it.of_files or not it.source
        transform = Transform(read(it.transform)) if it.transform is not None and own else None
        table = calibration.read(it.calibration) if it.calibration is not None else None
        if transform is not None:
            self._transforms[transform.code.digest] = transform
        if table is not None:
            self._calibrations[table.digest] = _laid_out(table)
        return named(Parts(transform.code.digest if transform else "", table.digest if table else ""))

    @property
    def calibrated(self) -> list[str]:
        """The streams that the configuration names a calibration for."""
        return [stream for stream, version in self._wanted.items() if parts_of(version).calibration]

    def check(self, contracts: Mapping[str, str | None]) -> None:
        """ConfigError if a calibration does not fit its stream's newest contract: its text by stream, None for none."""
        for stream in self.calibrated:
            text, table = contracts[stream], self._calibrations[parts_of(self._wanted[stream]).calibration][0].table
            problems = list(calibration.misfits(table, parse(stream, text))) if text is not None else []
            if problems:
                raise ConfigError("\n".join(f"streams.{stream}.calibration: {it}" for it in problems))

    def wanted(self, stream: str) -> str:
        """The version that the configuration names for a stream; empty for none."""
        return self._wanted[stream]

    def of(self, version: str) -> tuple[Calibrating | None, Transform | None]:
        """What rows of a version are made by: first by the calibration, then by the transform."""
        transform, table = parts_of(version)
        return (self._calibrations[table] if table else None), (self._transforms[transform] if transform else None)

    def noted(self, stream: str, note: CleanNote, at: int, emitted: Callable[[], int]) -> CleanNote:
        """The note to begin a partition of the stream with: `note` itself, or one to be committed before it is used.

        `at`: the offset that it is for. `emitted()`: the highest raw offset that a row or a
        letter was emitted of. Rows up to there are made by the version that was noted for them, and those after it by
        the wanted one.
        ConfigError, with the remedy, if a version that is needed is not to be had; TransientError while the store is
        away.
        """
        wanted = self.wanted(stream)
        versions = renewed(note.versions, wanted, at, emitted)
        if len(versions) > MAX_VERSIONS:
            raise ConfigError(_too_many(stream, versions))
        if versions != note.versions and wanted:
            self._keep(wanted)
        for version in versions:
            self._load(stream, parts_of(version.digest))
        return note if versions == note.versions else replace(note, versions=versions)

    def run(
        self,
        transform: Transform,
        schema_id: int,
        fields: Sequence[Field],
        columns: Columns,
        alive: Callable[[], object],
    ) -> Result:
        """What a transform makes of rows. ConfigError if it is seen not to be row-wise."""
        first = self._first.of(transform.code.digest, schema_id, columns)
        if first is not None:
            transform.check(fields, first, alive)
            self._first.checked(transform.code.digest, schema_id, first)
        return transform.run(fields, columns, alive)

    def _keep(self, version: str) -> None:
        table, transform = self.of(version)
        if transform is not None:
            self._texts.keep(f"{transform.code.digest}.py", transform.code.text)
        if table is not None:
            self._texts.keep(f"{table[0].table.digest}.csv", table[0].table.text)

    def _load(self, stream: str, version: Parts) -> None:
        transform, table = version
        if transform and transform not in self._transforms:
            name = f"{transform}.py"
            self._transforms[transform] = Transform(
                Code(self._texts.get(stream, name, "transform"), f"{FOLDER}/{name}")
            )
        if table and table not in self._calibrations:
            name = f"{table}.csv"
            text = self._texts.get(stream, name, "calibration")
            self._calibrations[table] = _laid_out(calibration.parse(text, f"{FOLDER}/{name}"))


def _laid_out(table: calibration.Table) -> Calibrating:
    made = Calibration(table)
    return made, Devices(made)


def _too_many(stream: str, versions: Versions) -> str:
    last = f"version {shown(versions[-2].digest)}" if versions[-2].digest else "to none"
    return too_many(stream, "transform or calibration", "clean", len(versions), last)
