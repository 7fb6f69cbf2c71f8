"""Positions handed out in order and finished in any order: how far may be acknowledged?"""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


class AckWindow(Generic[P]):
    """The messages of one MQTT connection that are under way, by their packet ids.

    Guarantee: `take` returns every position once, in the order of `hand_out`, and only after all parts of it and of
    every position before it have finished. For use on one thread.
    """

    __slots__ = ("_first", "_left", "_positions")

    def __init__(self) -> None:
        self._positions: deque[P] = deque()
        self._first = 0  # the ticket of the leftmost position
        self._left: dict[int, int] = {}  # ticket: parts that are not finished

    def __len__(self) -> int:
        """Positions handed out and not taken."""
        return len(self._positions)

    @property
    def first(self) -> int:
        """The ticket of the first position that has not been taken; all positions before it have."""
        return self._first

    def hand_out(self, position: P, parts: int = 1) -> int:
        """Register a position that `parts` pieces of work will finish (0: it is finished now); returns its ticket.

        Register the position first, then begin the work: else a piece could finish before its ticket exists.
        """
        ticket = self._first + len(self._positions)
        self._positions.append(position)
        if parts:
            self._left[ticket] = parts
        return ticket

    def finish(self, ticket: int) -> None:
        """Finish one part of the ticket's position. KeyError when no part is left."""
        left = self._left[ticket]
        if left > 1:
            self._left[ticket] = left - 1
        else:
            del self._left[ticket]

    def take(self) -> list[P]:
        """Remove and return the finished positions at the front, in order: they may be acknowledged now."""
        out: list[P] = []
        positions, left, first = self._positions, self._left, self._first
        while positions and first not in left:
            out.append(positions.popleft())
            first += 1
        self._first = first
        return out
