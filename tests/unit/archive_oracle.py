"""What must be true of the archive's world in the end, whatever has happened in it."""

from collections.abc import Sequence

from headrace.lake import ledger
from headrace.lake.flow import Stage
from headrace.lake.verify import chain_gaps, row_gaps
from headrace.protocol.wire import Position
from tests.unit.archive_world import SOURCES, World


def check_whole(world: World, sources: Sequence[Position] = SOURCES) -> None:
    """Each source is stored exactly once, and every offset is accounted for."""
    assert world.numbers() == [s.offset for s in sources]
    entries = world.entries()
    assert world.committed is not None
    stage = Stage(0, world.log.high, *world.committed)
    assert world.committed[0] == entries[-1].end == world.log.high
    assert world.note.intent is None
    assert chain_gaps(entries, world.topic_id, stage) == []
    files = {f.key: f.rows for e in entries for f in e.files}
    assert row_gaps(entries, files) == []
    assert set(world.files()) == set(files)
    assert all(e.unaccounted() == 0 for e in entries)
    assert len(world.letters) == sum(ledger.count(e.refused) for e in entries)
