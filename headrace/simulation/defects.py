"""Faults that real devices have: injected on purpose, and counted so that the lake can be compared with them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import numpy as np

DUPLICATE, GAP, MISSING = "duplicates", "gaps", "missing"
OUT_OF_RANGE, SENTINEL, MALFORMED = "out_of_range", "sentinels", "malformed"
# The chance of each, per message; the messages of a gap are missing besides.
_CHANCE = {DUPLICATE: 0.005, GAP: 0.002, OUT_OF_RANGE: 0.005, SENTINEL: 0.005, MALFORMED: 0.005}
_GAP_LENGTH = (3, 20)
_FIELD = {"imu": ("ax", 999.0), "environment": ("temperature", 180.0), "vibration": ("samples", 1.0e6)}


@dataclass
class Defects:
    """Decides for one device which of its messages go wrong. The same seed gives the same decisions."""

    stream: str
    rng: "np.random.Generator"
    counts: Counter[str] = field(default_factory=Counter)
    _silent: int = 0  # messages still to be left out
    _unseen: int = 0  # left out since the last message that was sent

    def apply(self, reading: dict[str, Any]) -> list[bytes]:
        """The payloads to send for a reading: normally one; none in a gap, two for a duplicate.

        Out of range: a value far above the contract's maximum. A sentinel: -999 where the contract of the stream
        knows it as "no value". Malformed: JSON cut off in the middle.
        """
        what = self._choose() if not self._silent else ""
        if what == GAP:
            self._silent = int(self.rng.integers(*_GAP_LENGTH))
            self.counts[GAP] += 1
        if self._silent:
            self._silent -= 1
            self._unseen += 1
            self.counts[MISSING] += 1
            return []
        self._unseen = 0
        if what == SENTINEL and self.stream != "environment":
            what = ""
        if what == OUT_OF_RANGE:
            name, value = _FIELD[self.stream]
            kept = reading[name]
            reading = {**reading, name: [*kept[:-1], value] if isinstance(kept, list) else value}
        elif what == SENTINEL:
            reading = {**reading, "humidity": -999}
        payload = orjson.dumps(reading)
        if what:
            self.counts[what] += 1
        if what == MALFORMED:
            return [payload[: len(payload) // 2]]
        return [payload] * (2 if what == DUPLICATE else 1)

    def finish(self) -> None:
        """The device sends nothing more. A gap at the end can't be seen, so it is taken out of the counts."""
        if self._unseen:
            self.counts[GAP] -= 1
            self.counts[MISSING] -= self._unseen
            self._unseen = 0

    def _choose(self) -> str:
        draw = float(self.rng.random())
        for what, chance in _CHANCE.items():
            if draw < chance:
                return what
            draw -= chance
        return ""
