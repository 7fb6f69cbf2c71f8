"""Which files are merged, and how often a row is written anew. Pure."""

import itertools
import random

import pytest

from headrace.config.model import Compact
from headrace.lake.compaction.plan import Item, Merge, merges
from headrace.lake.manifest import Merged

DATE, SLOT, DAY = "2026-01-02", ("2026-01-02", 7), 86_400
MIDNIGHT = 1_767_312_000.0  # when that date begins
SETTINGS = Compact(files=12, target_bytes=128 * 2**20)


def loose(i: int, size: int = 50_000) -> Item:
    return Item(i, i + 1, f"f{i}", size)


def made(merge: Merge) -> Item:
    size = sum(i.weight for i in merge.items)
    it = Merged(
        *merge.slot,
        merge.start,
        merge.end,
        f"m{merge.start}-{merge.level}-{size}",
        1,
        size,
        "",
        0,
        merge.level,
        merge.closed,
    )
    return Item(it.start, it.end, it.key, it.size, it)


def settle(items: list[Item], now: float, settings: Compact = SETTINGS) -> tuple[list[Item], int]:
    """Merge until there is nothing to merge. Returns the files, and the bytes that were written."""
    written = 0
    while (merge := next(merges({SLOT: items}, settings, now), None)) is not None:
        inside = {i.key for i in merge.items}
        assert [i for i in items if merge.start <= i.start < merge.end] == list(merge.items), "none between is left out"
        new = made(merge)
        written += new.size
        items = sorted([*(i for i in items if i.key not in inside), new])
    return items, written


def test_a_day_of_the_local_stack_is_written_about_three_times() -> None:
    """A file each 10 s, a round each 5 minutes: 60 files a stream on average, of 3 partitions."""
    items: list[Item] = []
    written = 0
    counts = []
    for i in range(8640):
        items.append(loose(i))
        if i % 30 == 29:
            items, more = settle(items, MIDNIGHT + i * 10)
            written += more
            counts.append(len(items))
    assert max(counts) * 3 <= 110
    assert sum(counts) / len(counts) * 3 <= 60
    items, more = settle(items, MIDNIGHT + DAY + 3600)
    assert len(items) == 3, "more than the target together"
    assert (written + more) / sum(loose(i).weight for i in range(8640)) < 4


def test_a_date_ends_an_hour_after_midnight() -> None:
    items = [loose(i) for i in range(5)]
    assert settle(items, MIDNIGHT + DAY + 3599)[0] == items
    assert len(settle(items, MIDNIGHT + DAY + 3600)[0]) == 1


@pytest.mark.parametrize("late", [1, 11])
def test_a_few_late_files_stay_apart_from_a_large_one(late: int) -> None:
    items, _ = settle([loose(i) for i in range(1000)], MIDNIGHT + 2 * DAY)
    more = [*items, *(loose(2000 + i) for i in range(late))]
    assert settle(more, MIDNIGHT + 2 * DAY) == (more, 0)


def test_late_files_cost_little_however_many_there_are() -> None:
    """Each round a file: what is written stays a small multiple of what came, and the number of files small."""
    items, _ = settle([loose(i) for i in range(4000)], MIDNIGHT + 2 * DAY)
    came = written = 0
    for i in range(2000):
        items.append(loose(10_000 + i))
        came += items[-1].weight
        items, more = settle(items, MIDNIGHT + 2 * DAY)
        written += more
        assert len(items) < 12 * 4
    assert written < 9 * came


def test_files_of_the_target_size_are_left_alone() -> None:
    items = [made(Merge(SLOT, (loose(i * 10, 240 * 2**20),), 1, closed=True)) for i in range(5)]
    assert settle(items, MIDNIGHT + 2 * DAY) == (items, 0)


def test_any_files_come_to_rest() -> None:
    for seed in range(200):
        rnd = random.Random(seed)
        settings = Compact(files=rnd.choice([2, 3, 12]), target_bytes=rnd.choice([100_000, 10**7]))
        items: list[Item] = []
        at = 0
        for _ in range(20):
            for _ in range(rnd.randrange(6)):
                items.append(loose(at, rnd.choice([3000, 50_000, 5 * 10**6])))
                at += rnd.randrange(1, 5)
            items, _ = settle(items, MIDNIGHT + rnd.choice([0.5, 2]) * DAY, settings)
        assert all(a.end <= b.start for a, b in itertools.pairwise(items)), "no two for one batch"
