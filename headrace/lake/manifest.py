"""Which files of the lake count: the manifests that compaction writes, and what follows from them for readers.

Each partition of an incarnation of a topic has a manifest: objects with ascending numbers, of which the highest counts.
Each is whole: the compacted files, and those of them that others have replaced since. A compacted file holds the rows
of all files of its schema id and date whose batch begins in [start, end). Those files do not count any more, whether
they are still there or are written again by an archive that was stopped a week ago.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import orjson

from headrace.errors import FatalError
from headrace.lake import layout
from headrace.protocol.names import lake_folder
from headrace.store.base import ObjectInfo, ObjectStore

VERSION = 1
_TRIES = 5  # a state may be removed between the listing and the reading: then there is a newer one
Place = tuple[str, int]  # an incarnation as keys have it, and a partition
Slot = tuple[str, int]  # a date and a schema id


class Merged(NamedTuple):
    """A compacted file: `rows` of batches that begin in [start, end). `size` in bytes, `sha256` of the whole object."""

    date: str
    schema_id: int
    start: int
    end: int
    key: str
    rows: int
    size: int
    sha256: str
    made_at: int  # seconds since 1970
    level: int  # how often its rows were written anew
    closed: bool  # made when no more rows of its date were to be expected


class Retired(NamedTuple):
    """A compacted file that another has replaced, at `since` (seconds since 1970)."""

    key: str
    since: int


@dataclass(frozen=True, slots=True)
class State:
    """A state of a manifest. Up to `upto` the ledger is known to be whole, from the first file on."""

    topic: str
    topic_id: str  # as keys have it
    partition: int
    number: int = 0  # 0: nothing was ever compacted, and there is no such object
    upto: int = -1
    files: tuple[Merged, ...] = ()
    retired: tuple[Retired, ...] = ()
    token: str = ""  # no two writers write the same bytes

    @property
    def key(self) -> str:
        """The key of its object."""
        return layout.state_key(self.topic, self.topic_id, self.partition, self.number)


def to_json(state: State) -> bytes:
    """The state as it is stored."""
    data = {"version": VERSION, **asdict(state)}
    data |= {"files": [f._asdict() for f in state.files], "retired": [r._asdict() for r in state.retired]}
    return orjson.dumps(data, option=orjson.OPT_APPEND_NEWLINE)


def from_json(data: bytes | str, key: str = "") -> State:
    """A state as it was stored; FatalError when the bytes are not one."""
    try:
        d = orjson.loads(data)
        version = d.pop("version")
        if version != VERSION:
            raise FatalError(f"{key}: manifest version {version}, this Headrace knows {VERSION}. Upgrade Headrace")
        files = tuple(Merged(**f) for f in d.pop("files"))
        return State(files=files, retired=tuple(Retired(**r) for r in d.pop("retired")), **d)
    except (ValueError, KeyError, TypeError) as e:
        raise FatalError(f"{key}: not a state of a manifest: {e!r}") from e


def newest(keys: Iterable[str]) -> list[str]:
    """The keys of the states that count, of all that there are."""
    best: dict[tuple[str, str, int], tuple[int, str]] = {}
    for key in keys:
        it = layout.parse_state_key(key)
        if it is not None:
            place = (it.topic, it.topic_id, it.partition)
            best[place] = max(best.get(place, (0, "")), (it.number, key))
    return sorted(key for _, key in best.values())


def read(store: ObjectStore, topic: str) -> list[State]:
    """The newest states of a topic."""
    for last in (False,) * (_TRIES - 1) + (True,):
        keys = newest(info.key for info in store.list(layout.state_prefix(topic)))
        try:
            return [from_json(store.get(key), key) for key in keys]
        except FatalError:
            if last:
                raise
    raise AssertionError


@dataclass
class Covers:
    """Which compacted file stands for a batch, by place and slot."""

    _by: dict[tuple[Place, Slot], tuple[list[int], list[Merged]]] = field(default_factory=dict)

    @classmethod
    def of(cls, states: Iterable[State]) -> "Covers":
        """What these states say."""
        found: dict[tuple[Place, Slot], list[Merged]] = defaultdict(list)
        for state in states:
            for f in state.files:
                found[(state.topic_id, state.partition), (f.date, f.schema_id)].append(f)
        return cls({at: (sorted(f.start for f in fs), sorted(fs, key=lambda f: f.start)) for at, fs in found.items()})

    def of_key(self, key: layout.DataKey) -> Merged | None:
        """The compacted file that holds the rows of this file of the archive, if there is one."""
        starts, files = self._by.get(((key.topic_id, key.partition), (key.date, key.schema_id)), ((), ()))
        i = bisect_right(starts, key.start) - 1
        return files[i] if i >= 0 and key.start < files[i].end else None


class DataFile(NamedTuple):
    """A file that counts."""

    key: str
    topic_id: str  # as keys have it
    partition: int
    schema_id: int
    date: str


@dataclass(frozen=True)
class Visible:
    """The files of a topic that count, in order of their keys, and which of the archive's files do no more."""

    topic: str
    files: Sequence[DataFile]
    covers: Covers

    def cover(self, key: str) -> str | None:
        """The key of the compacted file that holds the rows of the archive's file `key`; None where that counts."""
        parsed = layout.parse_data_key(key, self.topic)
        found = self.covers.of_key(parsed) if parsed is not None else None
        return found.key if found is not None else None

    def by_schema(self) -> Mapping[int, list[DataFile]]:
        """The files by schema id."""
        out: dict[int, list[DataFile]] = {}
        for f in sorted(self.files, key=lambda f: f.schema_id):
            out.setdefault(f.schema_id, []).append(f)
        return out


def visible(store: ObjectStore, topic: str) -> Visible:
    """The files of a topic that count. To read what it names is safe for as long as `compact.grace_seconds`."""
    return look(topic, lambda: [info.key for info in listing(store, topic)], lambda: read(store, topic))


def look(topic: str, names: Callable[[], Iterable[str]], states: Callable[[], Sequence[State]]) -> Visible:
    """What counts. `names` lists the topic's folder, `states` reads its manifests. FatalError where these were lost.

    The folder is listed first, then the manifests are read. So a row of a file that was removed before the listing is
    in a compacted file that every manifest read afterwards names, or one that holds that one's rows.
    A compacted file that someone else has deleted, such as a lifecycle rule of the bucket, is left out.
    """
    listed, found = set(names()), states()
    for _ in range(_TRIES):
        gone = {f.key for s in found for f in s.files} - listed
        if not gone:  # else it was stored since the listing, or replaced and removed, or deleted
            break
        again, newer = set(names()), states()
        same, listed, found = newer == found, again, newer
        if same:
            break
    for number, key in behind(topic, listed, found).values():
        raise FatalError(is_behind(number, key))
    return judge(topic, listed, found)


LOST = (
    "Was the folder _compacted removed, or restored from an older copy? Restore its newest objects, or make them anew "
    "of the files and the ledger: `headrace lake compact --rebuild`"
)


def behind(topic: str, listed: Iterable[str], states: Iterable[State]) -> dict[Place, tuple[int, str]]:
    """The places whose manifest was lost: the number of its state, and a file of `listed` that proves it.

    A file under number n is made only where state n - 1 is written already. So these states must be read afterwards.
    """
    numbers = {(s.topic_id, s.partition): s.number for s in states}
    out: dict[Place, tuple[int, str]] = {}
    for key in listed:
        it = layout.parse_merged_key(key, topic)
        if it is not None and it.number > (number := numbers.get((it.topic_id, it.partition), 0)) + 1:
            out[it.topic_id, it.partition] = number, key
    return out


def is_behind(number: int, key: str) -> str:
    """What `behind` found, in words."""
    return (
        f"{key} was made after state {number} of its manifest, and there is no newer one, so rows would be "
        f"missing. {LOST}"
    )


def listing(store: ObjectStore, topic: str) -> list[ObjectInfo]:
    """All objects in a topic's folder."""
    return list(store.list(f"{lake_folder(topic)}/"))


def judge(topic: str, listed: Iterable[str], states: Sequence[State]) -> Visible:
    """What counts, of the keys `listed` in the topic's folder before the states were read."""
    covers, listed = Covers.of(states), set(listed)
    files = [
        DataFile(f.key, s.topic_id, s.partition, f.schema_id, f.date)
        for s in states
        for f in s.files
        if f.key in listed
    ]
    for key in listed:
        it = layout.parse_data_key(key, topic)
        if it is not None and covers.of_key(it) is None:
            files.append(DataFile(key, it.topic_id, it.partition, it.schema_id, it.date))
    return Visible(topic, sorted(files), covers)
