"""What a round of compaction has done, in counts."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Topic:
    """The counts of one topic. `problems` says in words what could not be done, and what to do about it."""

    before: int = 0  # files that queries read, when the round began
    after: int = 0  # and when it ended
    small: int = 0  # of these, the archive's of dates that have as many as are merged together: they wait
    merges: int = 0  # compacted files that were made
    merged: int = 0  # files that they replace
    rows: int = 0  # in the files that were made
    bytes: int = 0  # of these files
    removed: int = 0  # objects that nobody reads any more
    problems: list[str] = field(default_factory=list)


@dataclass
class Report:
    """The counts of a round by topic."""

    topics: dict[str, Topic] = field(default_factory=dict)
    stopped: bool = False  # the round ended early, because it was asked to

    @property
    def good(self) -> bool:
        """Whether nothing was in the way."""
        return not any(t.problems for t in self.topics.values())

    def to_json(self) -> dict[str, Any]:
        """As `headrace lake compact --json` prints it."""
        return {
            "good": self.good,
            "stopped": self.stopped,
            "topics": {name: asdict(topic) for name, topic in self.topics.items()},
        }
