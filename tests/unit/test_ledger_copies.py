"""Copies of ledger entries: the same account, in fewer requests, whatever of them is there."""

import random
from pathlib import Path

import pytest

from headrace.lake import copies, layout, ledger
from headrace.lake.ledger import Entry
from tests.unit.lake_world import TOPIC, Mortal
from tests.unit.test_compaction import HOUR, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    out = World(tmp_path)
    out.lake.fill(60, random.Random(2))
    out.round()
    return out


def account(world: World) -> list[Entry]:
    return list(ledger.read(world.store, layout.ledger_prefix(TOPIC)))


def requests(world: World) -> int:
    """Of reading the account by its copies: it is the same."""
    store = Mortal(world.store)
    assert list(copies.read(store, TOPIC)) == account(world)
    return store.calls


def keys(world: World) -> list[str]:
    return [i.key for i in world.store.list(f"{copies.FOLDER}/")]


def test_an_account_that_was_merged_is_read_in_few_requests(world: World) -> None:
    entries = len(account(world))
    assert len(keys(world)) == 2, "one for each partition"
    assert requests(world) <= 2 + 2 + 2 * 3 < entries
    for key in keys(world):
        world.store.delete(key)
    assert requests(world) == 2 + entries


def test_many_small_copies_become_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "FEW", 3)
    for _ in range(8):
        for _ in range(4):
            world.lake.batch(0, {(0, 7): 100})
        world.time += 2 * HOUR
        world.round()
    of_first = [key for key in keys(world) if "/p0/" in key]
    assert 1 <= len(of_first) <= 4
    assert requests(world) < 20


def test_where_an_entry_was_removed_by_hand_its_copy_does_not_count(world: World) -> None:
    world.store.delete(world.lake.entries[5].key)
    requests(world)
    world.store.put(world.lake.entries[5].key, ledger.to_json(world.lake.entries[5]))
    requests(world)


def test_copies_that_overlap_or_are_gone_give_the_same_account(world: World) -> None:
    (first, *_) = sorted(keys(world))
    prefix, mine = (
        layout.entries_prefix(TOPIC, world.lake.topic_id, 0),
        [e for e in world.lake.entries if e.partition == 0],
    )
    copies.write(world.store, prefix, {e.start: e for e in mine}, mine[2].start, mine[9].start)
    assert len(keys(world)) == 3
    requests(world)
    world.store.put(first, b"")
    requests(world)
