"""How far readings have come through Kafka: the ends of the logs, and what clean, derive and archive have committed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from headrace import kafka
from headrace.config import Config
from headrace.kafka.ends import ends_of
from headrace.protocol import archive_note
from headrace.protocol import clean_note as notes
from headrace.protocol.names import clean_topic, raw_topic, stream_of

CLEAN, ARCHIVE = ".clean", ".archive"  # readers of commits, beside those by stream


class Stage(NamedTuple):
    """A partition's log, and what a group has committed there; None when it has committed nothing."""

    low: int
    high: int  # one past the last record
    committed: int | None
    metadata: str

    @property
    def waiting(self) -> int:
        """Records that the group has not dealt with yet."""
        return max(0, self.high - (self.low if self.committed is None else max(self.committed, self.low)))


@dataclass(frozen=True)
class Flow:
    """A snapshot: `raw` and `archived` by (topic, partition), `derived` by (derived stream, partition), `ids` by topic.

    Topics that do not exist are left out.
    """

    ids: dict[str, str]
    raw: dict[tuple[str, int], Stage]  # with clean's commits
    archived: dict[tuple[str, int], Stage]  # with the archive's; read after those of clean
    derived: dict[tuple[str, int], Stage] = field(default_factory=dict)  # of its source's .clean, with derive's

    def clean_note(self, stream: str, partition: int) -> notes.CleanNote | None:
        """What clean has counted of a stream's partition; None when it has committed nothing."""
        stage = self.raw.get((raw_topic(stream), partition))
        return notes.decode(stage.metadata) if stage is not None and stage.committed is not None else None

    def derive_note(self, stream: str, partition: int) -> notes.CleanNote | None:
        """What derive has counted of a derived stream's source; None when it has committed nothing."""
        stage = self.derived.get((stream, partition))
        return notes.decode(stage.metadata) if stage is not None and stage.committed is not None else None

    def archive_note(self, topic: str, partition: int) -> archive_note.ArchiveNote | None:
        """The archive's note; None when it has committed nothing."""
        stage = self.archived.get((topic, partition))
        return archive_note.decode(stage.metadata) if stage is not None and stage.committed is not None else None

    def pending(self) -> list[str]:
        """What is still under way, in words; empty when all is stored."""
        out = [f"{t}/{p}: {s.waiting:,} for clean" for (t, p), s in self.raw.items() if s.waiting]
        out += [f"{s}/{p}: {it.waiting:,} readings for derive" for (s, p), it in self.derived.items() if it.waiting]
        for (topic, partition), stage in self.archived.items():
            note = self.archive_note(topic, partition)
            if stage.waiting:
                out.append(f"{topic}/{partition}: {stage.waiting:,} for the archive")
            elif note is not None and note.intent is not None:
                out.append(f"{topic}/{partition}: a batch is being stored")
        return out

    def ends(self) -> dict[tuple[str, int], int]:
        """Where each log ends."""
        return {key: stage.high for part in (self.raw, self.archived) for key, stage in part.items()}


@contextmanager
def watch(cfg: Config) -> "Iterator[Watcher]":
    """A Watcher, connected to Kafka until the block ends."""
    groups = {CLEAN: cfg.clean.group, ARCHIVE: cfg.archive.group, **{s: cfg.group_of(s) for s in cfg.derived}}
    with ExitStack() as open_ones:
        readers = {
            name: open_ones.enter_context(closing(kafka.consumer(cfg.kafka, group))) for name, group in groups.items()
        }
        yield Watcher(cfg, readers, kafka.admin(cfg.kafka))


class Watcher:
    """Takes snapshots. TransientError while Kafka is away."""

    def __init__(self, cfg: Config, readers: Mapping[str, kafka.Consumer], admin: kafka.AdminClient) -> None:
        """`readers`: consumers that read the commits of CLEAN, of ARCHIVE, and of derive by stream."""
        self._cfg, self._readers, self._admin = cfg, readers, admin

    def snapshot(self) -> Flow:
        """How far all readings are now.

        Reads the commits of derive and clean first, then the ends of the logs, then the archive's commits: what was
        committed is then before those ends.
        """
        raw, archived = [raw_topic(s) for s in self._cfg.cleaned], self._cfg.archived
        sources = {s: clean_topic(self._cfg.streams[s].source) for s in self._cfg.derived}
        info = kafka.describe(self._cfg.kafka, list(dict.fromkeys([*raw, *archived, *sources.values()])))
        partitions = {t: [(t, p) for p in range(i.partitions)] for t, i in info.items()}
        of_raw, of_archived = ([p for t in topics for p in partitions.get(t, ())] for topics in (raw, archived))
        derive = {s: self._committed(s, partitions.get(t, ())) for s, t in sources.items()}
        clean = self._committed(CLEAN, of_raw)
        ends = ends_of(self._admin, {p for them in partitions.values() for p in them})
        archive = self._committed(ARCHIVE, of_archived)
        return Flow(
            {topic: i.id for topic, i in info.items()},
            {key: Stage(*ends[key], *clean[key]) for key in of_raw},
            {key: Stage(*ends[key], *archive[key]) for key in of_archived},
            {(s, key[1]): Stage(*ends[key], *it) for s, found in derive.items() for key, it in found.items()},
        )

    def _committed(
        self, reader: str, partitions: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], tuple[int | None, str]]:
        return kafka.committed(self._readers[reader], list(partitions)) if partitions else {}


def stream_name(topic: str) -> str:
    """What a report calls an archived topic: its stream for a `.clean` topic, else the topic itself."""
    return stream_of(topic) if topic == clean_topic(stream_of(topic)) else topic
