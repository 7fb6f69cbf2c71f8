"""How far readings have come through Kafka: the logs' ends, and what clean and archive have committed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from headrace import cleanmeta, intent, kafka
from headrace.config import Config
from headrace.names import clean_topic, raw_topic, stream_of


class Stage(NamedTuple):
    """A partition's log, and what a group has committed of it: None where it has committed nothing."""

    low: int
    high: int  # one past the last record
    committed: int | None
    metadata: str

    @property
    def waiting(self) -> int:
        """Records that the group has yet to deal with."""
        return max(0, self.high - (self.low if self.committed is None else max(self.committed, self.low)))


@dataclass(frozen=True)
class Flow:
    """A snapshot: `raw` and `archived` by (topic, partition), `ids` by topic. A topic that is not there is absent."""

    ids: dict[str, str]
    raw: dict[tuple[str, int], Stage]  # with clean's commits
    archived: dict[tuple[str, int], Stage]  # with the archive's; read after those of clean

    def clean_note(self, stream: str, partition: int) -> cleanmeta.Note | None:
        """What clean has counted of a stream's partition; None where it has committed nothing."""
        stage = self.raw.get((raw_topic(stream), partition))
        return cleanmeta.decode(stage.metadata) if stage is not None and stage.committed is not None else None

    def archive_note(self, topic: str, partition: int) -> intent.Note | None:
        """The archive's note; None where it has committed nothing."""
        stage = self.archived.get((topic, partition))
        return intent.decode(stage.metadata) if stage is not None and stage.committed is not None else None

    def pending(self) -> list[str]:
        """In words, what has not come to its end: empty when all is stored."""
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


def archived_topics(cfg: Config) -> list[str]:
    """The topics that the archive stores."""
    return list(cfg.archive.topics) or [clean_topic(s) for s in cfg.streams]


def raw_topics(cfg: Config) -> list[str]:
    """The topics that clean reads."""
    return [raw_topic(s) for s in cfg.clean.streams or cfg.streams]


@contextmanager
def watch(cfg: Config) -> "Iterator[Watcher]":
    """Connected to Kafka for as long as the block lasts."""
    clean, archive = kafka.consumer(cfg.kafka, cfg.clean.group), kafka.consumer(cfg.kafka, cfg.archive.group)
    try:
        yield Watcher(cfg, clean, archive)
    finally:
        clean.close()
        archive.close()


class Watcher:
    """Takes snapshots. TransientError where Kafka is away."""

    def __init__(self, cfg: Config, clean: kafka.Consumer, archive: kafka.Consumer) -> None:
        self._cfg, self._clean, self._archive = cfg, clean, archive

    def snapshot(self) -> Flow:
        """How far it all is now. Clean's commits are read first, then the ends that they led to, then the archive's."""
        raw, archived = raw_topics(self._cfg), archived_topics(self._cfg)
        info = kafka.describe(self._cfg.kafka, [*raw, *archived])
        return Flow(
            {topic: i.id for topic, i in info.items()},
            _stages(self._clean, [(t, p) for t in raw if t in info for p in range(info[t].partitions)], first=True),
            _stages(
                self._archive, [(t, p) for t in archived if t in info for p in range(info[t].partitions)], first=False
            ),
        )


def stream_name(topic: str) -> str:
    """How a report calls an archived topic: by its stream, or where it is no `.clean` topic by itself."""
    return stream_of(topic) if topic == clean_topic(stream_of(topic)) else topic


def _stages(client: kafka.Consumer, keys: list[tuple[str, int]], *, first: bool) -> dict[tuple[str, int], Stage]:
    """Stages whose commits are read before the ends of the logs, or after them."""
    if not keys:
        return {}
    commits = kafka.committed(client, keys) if first else {}
    ends = {key: kafka.watermarks(client, *key) for key in keys}
    commits = commits or kafka.committed(client, keys)
    return {key: Stage(*ends[key], *commits[key]) for key in keys}
