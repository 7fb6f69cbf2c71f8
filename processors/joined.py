"""Byte strings in one buffer, one after another: a column of messages' values, without an object for each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from processors.arrays import Bytes, Ints


@dataclass(frozen=True, slots=True)
class Joined:
    """n byte strings: number i is `data` from ends[i-1] to ends[i]."""

    data: bytes
    ends: Ints

    @classmethod
    def of(cls, values: Sequence[bytes | None]) -> "Joined":
        """These values; None counts as empty."""
        if None in values:
            values = [v or b"" for v in values]
        sizes = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
        return cls(b"".join(values), np.cumsum(sizes))  # type: ignore[arg-type]

    @classmethod
    def concat(cls, parts: Sequence["Joined"]) -> "Joined":
        """The strings of at least one part, one part after the other."""
        if len(parts) == 1:
            return parts[0]
        before = np.cumsum([0, *(len(p.data) for p in parts[:-1])])
        ends = np.concatenate([p.ends + b for p, b in zip(parts, before, strict=True)])
        return cls(b"".join([p.data for p in parts]), ends)

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def begins(self) -> Ints:
        """Where each begins."""
        return np.concatenate((np.zeros(1, np.int64), self.ends))[:-1]

    @property
    def block(self) -> Bytes:
        """The buffer as numbers."""
        return np.frombuffer(self.data, np.uint8)

    def at(self, i: int) -> bytes:
        """One of them, from the first on."""
        return self.data[int(self.ends[i - 1]) if i else 0 : int(self.ends[i])]

    def cut(self, first: int, end: int) -> "Joined":
        """Those from `first` to before `end`."""
        if first == 0 and end == len(self):
            return self
        begin = int(self.ends[first - 1]) if first else 0
        stop = int(self.ends[end - 1]) if end > first else begin
        return Joined(self.data[begin:stop], self.ends[first:end] - begin)

    def pick(self, which: Ints) -> "Joined":
        """Those at these places, in this order."""
        return self if len(which) == len(self) and (np.diff(which) == 1).all() else Joined.of(self._some(which))

    def separate(self) -> list[bytes]:
        """Each as an object of its own."""
        return self._some(np.arange(len(self)))

    def _some(self, which: Ints) -> list[bytes]:
        data = self.data
        return [data[a:b] for a, b in zip(self.begins[which].tolist(), self.ends[which].tolist(), strict=True)]
