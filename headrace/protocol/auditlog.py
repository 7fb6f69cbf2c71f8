"""The audit log of hub: each row's hash covers the row and the hash of the row before it, so that a change shows."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

FIRST = "0" * 64  # the hash before the first row


class Entry(NamedTuple):
    """A row of the log. `time` in microseconds since 1970 UTC; `detail` is JSON; both hashes in hexadecimal."""

    number: int
    time: int
    actor: str
    act: str
    target: str
    detail: str
    previous: str
    hash: str

    @property
    def right_hash(self) -> str:
        """The hash that the row should have."""
        return digest(self[:6], self.previous)


def canonical(value: Any) -> str:
    """JSON with its keys in order and no spaces, in ASCII: the same text for the same value, always."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def entry(number: int, time: int, actor: str, act: str, target: str, detail: dict[str, Any], previous: str) -> Entry:
    """The row that follows the one with the hash `previous`."""
    row = (number, time, actor, act, target, canonical(detail))
    return Entry(*row, previous, digest(row, previous))


def digest(row: tuple[int, int, str, str, str, str], previous: str) -> str:
    """The hash of a row (number, time, actor, act, target, detail) that follows the one with the hash `previous`."""
    names = ("number", "time", "actor", "act", "target", "detail")
    return hashlib.sha256((previous + canonical(dict(zip(names, row, strict=True)))).encode()).hexdigest()


def faults(entries: Iterable[Entry], before: int, after: int) -> Iterator[str]:
    """What is wrong with the log, a line a fault, with the row's number. `entries` are all rows, by number.

    `before`, `after`: the number that was given last, before and after they were read.
    """
    expected, previous = 1, FIRST
    for it in entries:
        if it.number > expected:
            yield _removed(expected, it.number - 1)
        elif it.previous != previous:
            yield f"row {it.number} does not follow row {it.number - 1}: one of them was exchanged"
        if it.hash != it.right_hash:
            yield f"row {it.number} was changed: {it.actor} {it.act} {it.target}: its hash is that of other words"
        expected, previous = it.number + 1, it.hash
    if expected <= before:
        yield _removed(expected, before)
    elif expected > after + 1:
        yield f"row {expected - 1} was inserted: hub has written rows up to {after}"


def _removed(first: int, last: int) -> str:
    return f"row {first} was removed" if first == last else f"rows {first} to {last} were removed"
