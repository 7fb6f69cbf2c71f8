"""Which dead letters a person means: by stream, reason, stage, device and time."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from headrace.deadletters.reading import ReadLetter


@dataclass(frozen=True, slots=True)
class Filter:
    """What a letter must be; "" and None ask for nothing. `keys`: it must be one of these, if there are any."""

    stream: str = ""
    reason: str = ""
    stage: str = ""
    device: str = ""
    since_ms: int | None = None  # when Kafka had the letter, since 1970 UTC: from then on
    until_ms: int | None = None  # before then
    keys: Collection[bytes] = ()

    def takes(self, it: ReadLetter) -> bool:
        """Whether the letter is one of those."""
        return (
            (not self.keys or it.key in self.keys)
            and all(not wanted or it.text(name) == wanted for name, wanted in self._texts())
            and (self.since_ms is None or it.time_ms >= self.since_ms)
            and (self.until_ms is None or it.time_ms < self.until_ms)
        )

    def of_keys(self, keys: Collection[bytes]) -> "Filter":
        """The same filter for these letters only; for all when there are no keys."""
        return replace(self, keys=frozenset(keys))

    def words(self) -> str:
        """The filter for people: "stream imu, until 2026-11-27T10:00:00Z"; empty when it takes every letter."""
        times = [(name, ms) for name, ms in (("since", self.since_ms), ("until", self.until_ms)) if ms is not None]
        parts = [f"{name} {wanted}" for name, wanted in self._texts() if wanted]
        parts += [f"{name} {time_text(ms)}" for name, ms in times]
        return ", ".join(parts + ([f"{len(self.keys)} by their keys"] if self.keys else []))

    def _texts(self) -> tuple[tuple[str, str], ...]:
        return ("stream", self.stream), ("reason", self.reason), ("stage", self.stage), ("device", self.device)


def time_text(ms: int) -> str:
    """Milliseconds since 1970 UTC in ISO 8601, to the second."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
