"""What is to be uploaded: each file with its profile, each of its tables tried, and which are known already."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from typing import NamedTuple

from headrace.config import Config
from headrace.contracts import files
from headrace.contracts.model import Contract
from headrace.errors import ConfigError
from headrace.readers import containers
from headrace.readers.base import Reader
from headrace.readers.source import Source
from headrace.uploads import evidence, trial
from headrace.uploads.evidence import Recording
from headrace.uploads.order import MOST_ROWS, upload_id
from headrace.uploads.profile import Profile
from headrace.uploads.trial import Trial

Open = Callable[[Source, Mapping[str, str], str], Reader]


class Candidate(NamedTuple):
    """A file that may be uploaded. `open`: `with it.open() as source`."""

    name: str
    size: int
    open: Callable[[], AbstractContextManager[Source]]


class Planned(NamedTuple):
    """A file and what it would become. `profile` has all options that were found; `uploads`: an id for each table."""

    candidate: Candidate
    recording: Recording
    profile: Profile
    stream: str
    uploads: tuple[str, ...]
    trials: tuple[Trial, ...]  # one for each table; none where all uploads are known

    @property
    def known(self) -> bool:
        """Whether all of it was loaded before."""
        return not self.trials


def candidates(paths: Sequence[Path]) -> tuple[list[Candidate], list[str]]:
    """The files of paths, folders and zip files, and in words what was passed over. ConfigError: one can't be read."""
    found, passed = list[Candidate](), list[str]()
    for path in paths:
        if not containers.is_container(path):
            with Source(path) as source:
                found.append(Candidate(source.name, source.size, partial(Source, path)))
            continue
        it = containers.contents(path)
        passed += it.passed
        found += [Candidate(file.name.rpartition("/")[2], file.size, file.open) for file in it.files]
    return found, passed


def chosen(profiles: Sequence[Profile], name: str) -> Profile | None:
    """The first profile that is for files of this name."""
    return next((it for it in profiles if it.is_for(name)), None)


def stream_of_files(cfg: Config, profile: Profile) -> str:
    """The stream that takes the rows. ConfigError where the profile's stream takes no files."""
    stream = profile.stream
    if stream not in cfg.streams:
        raise ConfigError(f"the profile's stream {stream!r} is not configured. There are: {', '.join(cfg.streams)}")
    if not (out := cfg.files_of(stream)):
        raise ConfigError(
            f"the stream {stream} takes no files. Write `files: true` under streams.{stream}, and restart"
        )
    return out


class Planner:
    """Plans file by file. `ordered` and `loaded`: uploads; `open_file` as headrace.readers.formats has it."""

    def __init__(self, cfg: Config, ordered: Collection[str], loaded: Collection[str], open_file: Open) -> None:
        self._cfg, self._ordered, self._loaded, self._open = cfg, ordered, loaded, open_file
        self._contracts: dict[str, Contract] = {}

    def plan(self, it: Candidate, profile: Profile, progress: Callable[[int], None] = lambda _: None) -> Planned:
        """What a file would become by a profile; `progress` is told the bytes read so far.

        ConfigError: the file can't be read, or the profile does not fit it.
        """
        stream = stream_of_files(self._cfg, profile)
        if stream not in self._contracts:
            self._contracts[stream] = files.find(self._cfg.contract_of(stream), self._cfg.contracts)
        with it.open() as source:
            recording = evidence.identify(source)
            ids = map(partial(upload_id, recording.id, profile=profile.digest, stream=stream), count())
            uploads = tuple(takewhile(self._ordered.__contains__, ids))  # the first table is ordered last
            if uploads and all(it in self._loaded for it in uploads):
                progress(source.size)
                return Planned(it, recording, profile, stream, uploads, ())
            trials = trial.attempt(source, profile, self._contracts[stream], self._open, progress=progress)
        most = max(t.rows for t in trials)
        if most > MOST_ROWS:
            raise ConfigError(f"{it.name} has {most:,} rows, more than {MOST_ROWS:,}: split it into several files")
        uploads = tuple(upload_id(recording.id, n, profile.digest, stream) for n in range(len(trials)))
        found = profile.model_copy(update={"format": trials[0].format, "dialect": trials[0].dialect})
        return Planned(it, recording, found, stream, uploads, tuple(trials))


def unfit(planned: Sequence[Planned]) -> Iterator[str]:
    """In words: tables of which most rows would be refused, which is a profile that does not fit."""
    for it in planned:
        for one in it.trials:
            refused = one.refused.total()
            if refused > one.readings:
                kind, count = one.refused.most_common(1)[0]
                yield (
                    f"{one.name}: {refused:,} of {one.rows:,} rows can't be readings ({kind}: {count:,}). Correct the "
                    "profile; `headrace profiles test` shows what it makes of the file"
                )
