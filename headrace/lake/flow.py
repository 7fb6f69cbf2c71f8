"""How far readings have come through Kafka: the ends of the logs, and what clean and archive have committed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from headrace import kafka
from headrace.config import Config
from headrace.kafka.ends import ends_of
from headrace.protocol import archive_note, clean_note
from headrace.protocol.names import clean_topic, raw_topic, stream_of


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
    """A snapshot: `raw` and `archived` by (topic, partition), `ids` by topic. Topics that do not exist are left out."""

    ids: dict[str, str]
    raw: dict[tuple[str, int], Stage]  # with clean's commits
    archived: dict[tuple[str, int], Stage]  # with the archive's; read after those of clean

    def clean_note(self, stream: str, partition: int) -> clean_note.CleanNote | None:
        """What clean has counted of a stream's partition; None when it has committed nothing."""
        stage = self.raw.get((raw_topic(stream), partition))
        return clean_note.decode(stage.metadata) if stage is not None and stage.committed is not None else None

    def archive_note(self, topic: str, partition: int) -> archive_note.ArchiveNote | None:
        """The archive's note; None when it has committed nothing."""
        stage = self.archived.get((topic, partition))
        return archive_note.decode(stage.metadata) if stage is not None and stage.committed is not None else None

    def pending(self) -> list[str]:
        """What is still under way, in words; empty when all is stored."""
        out = [f"{t}/{p}: {s.waiting:,} for clean" for (t, p), s in self.raw.items() if s.waiting]
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
    clean, archive = kafka.consumer(cfg.kafka, cfg.clean.group), kafka.consumer(cfg.kafka, cfg.archive.group)
    try:
        yield Watcher(cfg, clean, archive, kafka.admin(cfg.kafka))
    finally:
        clean.close()
        archive.close()


class Watcher:
    """Takes snapshots. TransientError while Kafka is away."""

    def __init__(self, cfg: Config, clean: kafka.Consumer, archive: kafka.Consumer, admin: kafka.AdminClient) -> None:
        """`clean` and `archive` are consumers of those groups, which read their commits."""
        self._cfg, self._clean, self._archive, self._admin = cfg, clean, archive, admin

    def snapshot(self) -> Flow:
        """How far all readings are now.

        Reads clean's commits first, then the ends of the logs, then the archive's commits: what clean committed is then
        before those ends.
        """
        raw, archived = [raw_topic(s) for s in self._cfg.cleaned], self._cfg.archived
        info = kafka.describe(self._cfg.kafka, [*raw, *archived])
        of_raw, of_archived = (
            [(t, p) for t in topics if t in info for p in range(info[t].partitions)] for topics in (raw, archived)
        )
        clean = kafka.committed(self._clean, of_raw) if of_raw else {}
        ends = ends_of(self._admin, {*of_raw, *of_archived})
        archive = kafka.committed(self._archive, of_archived) if of_archived else {}
        return Flow(
            {topic: i.id for topic, i in info.items()},
            {key: Stage(*ends[key], *clean[key]) for key in of_raw},
            {key: Stage(*ends[key], *archive[key]) for key in of_archived},
        )


def stream_name(topic: str) -> str:
    """What a report calls an archived topic: its stream for a `.clean` topic, else the topic itself."""
    return stream_of(topic) if topic == clean_topic(stream_of(topic)) else topic
