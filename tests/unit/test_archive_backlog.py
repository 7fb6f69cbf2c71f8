"""A backlog in many partitions becomes files of full size, one partition after another, and memory stays bounded."""

from typing import Any

from headrace.config.model import Archive as Settings
from processors.archive.partition import AssignedPartition
from processors.archive.service import Archive

LIMITS = Settings(memory_bytes=1000)


class Part:
    """A partition whose figures are set by the test."""

    busy = False

    partition = ("t", 0)

    def __init__(self, held: int, behind: int) -> None:
        self.held = self.buffered = held
        self.next, self.end = 0, behind
        self.full, self.flushed = False, ""

    def throttle(self, *, full: bool) -> None:
        self.full = full

    def flush(self, cause: str) -> None:
        self.flushed = str(cause)


def budgeted(*parts: Part) -> list[Part]:
    """The partitions after one look at the budget."""
    it: Any = Archive.__new__(Archive)
    it._limits, it._full, it._tight, it._throttled = LIMITS, False, False, False
    it._waiting, it._parts = set(), {("t", i): part for i, part in enumerate(parts)}

    class Member:
        def end(self, partition: tuple[str, int]) -> int:
            return parts[partition[1]].end

    it._member = Member()
    it._budget()
    return list(parts)


def test_with_room_all_are_read() -> None:
    assert [p.full for p in budgeted(Part(200, 9000), Part(290, 9000))] == [False, False]


def test_with_half_the_memory_used_only_the_fullest_with_a_backlog_is_read() -> None:
    assert [p.full for p in budgeted(Part(200, 9000), Part(300, 9000), Part(310, 20))] == [True, False, True]


def test_without_a_backlog_all_are_read_until_memory_is_full() -> None:
    assert [p.full for p in budgeted(Part(300, 20), Part(400, 0))] == [False, False]


def test_with_full_memory_none_is_read_and_as_many_are_stored_as_make_room() -> None:
    found = budgeted(Part(150, 0), Part(100, 0), Part(750, 0))
    assert [p.full for p in found] == [True, True, True]
    assert [p.flushed for p in found] == ["", "", "memory"]
    found = budgeted(*(Part(100, 0) for _ in range(10)))
    assert [p.flushed for p in found] == [""] * 8 + ["memory"] * 2


def test_the_figures_are_those_of_a_real_partition() -> None:
    assert all(hasattr(AssignedPartition, name) for name in ("held", "buffered", "busy", "next", "throttle", "flush"))
