"""A turn of the archive over many partitions: their commits go together."""

from collections.abc import Sequence
from typing import Any

import pytest

from headrace.errors import TransientError
from processors.archive.service import Archive
from processors.group.commits import Wanted
from processors.group.token import Partition, Token


class Part:
    """A partition that wants so many commits, one after the other."""

    def __init__(self, number: int, commits: int) -> None:
        self.partition, self.token = ("t", number), Token()
        self.left, self.done = commits, 0

    def step(self) -> Wanted | None:
        return Wanted(self.token, self.partition, self.done, "note") if self.left else None

    def committed(self) -> None:
        self.left, self.done = self.left - 1, self.done + 1


class Commits:
    """Notes each request; `away`: refuses it."""

    def __init__(self) -> None:
        self.requests: list[list[Partition]] = []
        self.away = False

    def commit_all(self, wanted: Sequence[Wanted]) -> set[Partition]:
        if wanted:
            self.requests.append([it.partition for it in wanted])
        if self.away:
            raise TransientError
        return {it.partition for it in wanted if it.token.live}


@pytest.fixture
def archive() -> Any:
    it: Any = Archive.__new__(Archive)
    it._commits, it._commit_at = Commits(), 0.0
    return it


def test_what_partitions_want_in_a_turn_is_committed_in_one_request(archive: Any) -> None:
    parts = [Part(0, 1), Part(1, 2), Part(2, 0)]
    archive._go_on(parts, 1.0)
    assert archive._commits.requests == [[("t", 0), ("t", 1)], [("t", 1)]]
    assert [p.done for p in parts] == [1, 2, 0]


def test_a_partition_that_is_no_longer_ours_is_not_told(archive: Any) -> None:
    gone, ours = Part(0, 1), Part(1, 1)
    gone.token.void()
    archive._go_on([gone, ours], 1.0)
    assert [gone.done, ours.done] == [0, 1]


def test_a_commit_that_fails_tells_nobody_and_is_made_again_as_a_whole_after_a_pause(archive: Any) -> None:
    parts = [Part(0, 1), Part(1, 1)]
    archive._commits.away = True
    archive._go_on(parts, 1.0)
    archive._commits.away = False
    archive._go_on(parts, 1.4)
    assert [p.done for p in parts] == [0, 0]
    archive._go_on(parts, 1.5)
    assert [p.done for p in parts] == [1, 1]
    assert archive._commits.requests == [[("t", 0), ("t", 1)]] * 2
