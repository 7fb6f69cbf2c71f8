"""What others do to a compacted lake: files that are deleted, manifests that are removed, or put back from a copy."""

import random
from pathlib import Path

import pytest

from headrace.errors import FatalError
from headrace.lake import layout, ledger, manifest
from headrace.lake.verify import row_gaps
from tests.unit.lake_world import DAY, FIRST, SECOND, TOPIC
from tests.unit.test_compaction import HOUR, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    out = World(tmp_path)
    out.lake.fill(60, random.Random(2))
    out.round()
    out.time += 2 * HOUR
    out.round()
    return out


def states(world: World) -> dict[str, bytes]:
    return {i.key: world.store.get(i.key) for i in world.store.list("_compacted/")}


def merged(world: World) -> list[str]:
    return [i.key for i in manifest.listing(world.store, TOPIC) if layout.parse_merged_key(i.key, TOPIC)]


def days(world: World, n: int) -> None:
    """Days of batches and rounds: whatever may go goes."""
    for day in range(n):
        for partition in range(3):
            for _ in range(3):
                world.lake.batch(partition, {(day % 3, 7): 30})
        world.time += 2 * 86_400
        world.round()


def test_a_compacted_file_that_a_lifecycle_rule_deletes_fails_no_query(world: World) -> None:
    before = world.answer()["n"]
    victim = max((f for s in manifest.read(world.store, TOPIC) for f in s.files), key=lambda f: f.rows)
    world.store.delete(victim.key)
    assert world.answer()["n"] == before - victim.rows
    there = manifest.visible(world.store, TOPIC)
    entries = list(ledger.read(world.store))
    rows = {f.key: 10**6 for f in there.files}
    assert row_gaps(entries, rows, there.cover) == [(victim.rows, f"rows are missing in {victim.key}")]
    assert world.round().problems == []


def test_a_deleted_file_does_not_keep_what_was_replaced_on_other_dates(world: World) -> None:
    (first, *_) = manifest.read(world.store, TOPIC)
    victim = first.files[0]
    world.store.delete(victim.key)
    others = next(f for f in first.files if f.date != victim.date)
    for _ in range(40):
        world.lake.batch(first.partition, {(int(others.date[-2:]) - 1, others.schema_id): 50})
    world.round()
    assert others.key in {r.key for s in manifest.read(world.store, TOPIC) for r in s.retired}
    world.time += 2 * HOUR
    world.round()
    assert not world.store.exists(others.key)


def test_a_removed_manifest_is_told_and_nothing_is_removed(world: World) -> None:
    """Else files would be numbered anew, and those that no state names would go: the only ones that have the rows."""
    days(world, 2)
    world.checked()
    saved, compacted = states(world), merged(world)
    for key in saved:
        world.store.delete(key)
    with pytest.raises(FatalError, match="_compacted removed"):
        manifest.visible(world.store, TOPIC)
    with pytest.raises(FatalError, match="_compacted removed"):
        world.answer()
    days(world, 3)
    assert any("_compacted removed" in p for p in world.round().problems)
    assert merged(world) == compacted
    for key, data in saved.items():
        world.store.put(key, data)
    days(world, 1)
    world.checked()


def test_the_first_merges_outlive_a_removed_manifest(world: World) -> None:
    """Their number tells nothing: the ledger says that no other file has the rows."""
    one = World(world.store.root / "one")
    one.store.root.mkdir()
    for _ in range(5):
        one.lake.batch(0, {(0, 7): 10})
    one.round()
    one.time += 2 * HOUR
    one.round()
    (made,) = (f for s in manifest.read(one.store, TOPIC) for f in s.files)
    for key in states(one):
        one.store.delete(key)
    days(one, 5)
    assert one.store.exists(made.key)
    assert one.round().problems


def test_a_manifest_put_back_by_one_state_removes_nothing(world: World) -> None:
    one = World(world.store.root / "one")
    one.store.root.mkdir()
    for _ in range(2):
        for _ in range(5):
            one.lake.batch(0, {(0, 7): 100})
        one.round()
        one.time += 2 * HOUR
        one.round()
    (newest,) = manifest.read(one.store, TOPIC)
    assert newest.number == 2
    one.store.delete(newest.key)
    days(one, 3)
    assert all(one.store.exists(f.key) for f in newest.files)
    assert any(newest.files[-1].key in p or "not in the lake" in p for p in one.round().problems)


def test_no_merge_goes_over_a_file_that_was_deleted_by_hand(tmp_path: Path) -> None:
    """Else it would be hidden when it is put back, and removed."""
    world = World(tmp_path, files=4)
    world.time = (FIRST + DAY / 2) / SECOND
    entries = [world.lake.batch(0, {(0, 7): 10}) for _ in range(3)]
    for _ in range(6):
        world.lake.batch(0, {(1, 7): 10})
    world.round()
    key = entries[1].files[0].key
    data = world.store.get(key)
    world.store.delete(key)
    world.time += 3 * 86_400
    assert any(key in p for p in world.round().problems)
    world.store.put(key, data)
    assert world.round().problems == []
    world.time += 2 * HOUR
    world.round()
    world.counted()
    assert not world.store.exists(key)


def remove_states(world: World) -> None:
    for key in states(world):
        world.store.delete(key)


@pytest.mark.parametrize("left", [0, 1], ids=["all removed", "an old one put back"])
def test_a_lost_manifest_is_made_anew_of_the_files_and_the_ledger(world: World, left: int) -> None:
    days(world, 2)
    before, first = world.answer(), dict(sorted(states(world).items())[:left])
    remove_states(world)
    for key, data in first.items():
        world.store.put(key, data)
    with pytest.raises(FatalError, match="compact --rebuild"):
        world.answer()
    assert world.round(rebuild=True).problems == []
    assert world.answer() == before
    world.checked()
    days(world, 2)
    world.time += 2 * HOUR
    assert world.round().problems == []
    world.checked()
    assert set(merged(world)) == {f.key for s in manifest.read(world.store, TOPIC) for f in s.files}


def test_of_compacted_files_that_overlap_the_longest_count_and_the_others_go(world: World) -> None:
    """Some were replaced, one is of a merge that did not end."""
    for _ in range(2):
        for _ in range(4):
            world.lake.batch(0, {(0, 7): 400})
        world.round()
    (state, *_) = manifest.read(world.store, TOPIC)
    assert state.retired
    stray = layout.parse_merged_key(state.files[0].key, TOPIC)
    assert stray is not None
    copy = layout.merged_key(TOPIC, stray._replace(number=state.number + 1), "0" * 12)
    world.store.put(copy, world.store.get(state.files[0].key))
    remove_states(world)
    assert world.round(rebuild=True).problems == []
    world.checked()
    world.time += 2 * HOUR
    assert world.round().problems == []
    world.checked()
    assert set(merged(world)) == {f.key for s in manifest.read(world.store, TOPIC) for f in s.files}


def test_nothing_is_made_anew_of_files_that_lack_rows(world: World) -> None:
    (state, *_) = manifest.read(world.store, TOPIC)
    remove_states(world)
    victim = state.files[0]
    world.store.put(victim.key, world.store.get(state.files[1].key))
    assert any(victim.key in p and "the ledger says" in p for p in world.round(rebuild=True).problems)
    assert not [key for key in states(world) if f"/p{state.partition}/" in key]


def test_a_rebuild_where_nothing_was_lost_changes_nothing(world: World) -> None:
    before = states(world)
    assert world.round(rebuild=True).problems == []
    assert states(world) == before
