"""Positions that `headrace archive adopt` derives from the lake."""

import random

from headrace.lake.adopt import Found, derive, newest_rows
from headrace.protocol.archive_note import encode
from headrace.protocol.wire import ORIGIN, Position, Provenance, pack_position
from tests.unit.archive_rows import ID, TOPIC, placed, row
from tests.unit.archive_world import PARTITION, World, archive_all

ANEW = "B" * 22


def emitted_anew(world: World, first: int, end: int) -> None:
    """The topic was made anew, and clean goes on from an earlier row than its last."""
    world.make_topic(ANEW)
    for n in range(first, end):
        prev = Position(1, n - 1, 0) if n else ORIGIN
        world.kafka.write(TOPIC, row(n), [placed(Position(1, n, 0), prev)])


def adopted(first: int, end: int) -> World:
    """20 rows stored; then the topic made anew with the rows [first, end), adopted, and archived."""
    world = World()
    world.emit([Position(1, n, 0) for n in range(20)], random.Random(1))
    archive_all(world)
    emitted_anew(world, first, end)
    offset, note = derive(TOPIC, ANEW, 0, 0, Found([], before=Position(1, 19, 0)))
    world.kafka.committed[PARTITION] = (offset, encode(note))
    archive_all(world)
    return world


def test_what_the_lake_has_of_an_earlier_incarnation_is_not_stored_again() -> None:
    assert adopted(15, 30).numbers() == list(range(30))


def test_rows_that_went_with_the_topic_do_not_stop_the_archive() -> None:
    """They are gone, and `verify` counts them: clean passed them on, and they are not in the lake."""
    assert adopted(25, 30).numbers() == [*range(20), *range(25, 30)]


def test_the_newest_row_of_each_incarnation_is_found_by_the_ledger() -> None:
    world = World()
    world.emit([Position(1, n, 0) for n in range(20)], random.Random(1))
    archive_all(world)
    assert newest_rows(world.store, world.entries()) == [], "without an event id no record is recognised"
    world = World()
    for n in range(5):
        prev = Position(1, n - 1, 0) if n else ORIGIN
        came = Provenance(bytes([n]) * 16, position=pack_position(Position(1, n, 0), prev))
        world.kafka.write(TOPIC, row(n), [came.header()])
    archive_all(world)
    (found,) = newest_rows(world.store, world.entries())
    assert (found.source, found.event_id) == (Position(1, 4, 0), b"\x04" * 16)
    assert world.entries()[0].topic_id == ID
