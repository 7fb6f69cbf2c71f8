from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.config import Config
from headrace.config.connect import Store
from headrace.deadletters import ReadLetter
from headrace.lake import sql
from headrace.lake.flow import Flow, Stage
from headrace.lake.ledger import Entry, StoredFile
from headrace.lake.rows import Source
from headrace.lake.verify import Part, Report, Stream, chain_gaps, count_letters, emitted_gaps, raw_gaps, row_gaps
from headrace.protocol import clean_note
from headrace.protocol.archive_note import ArchiveNote, Intent, encode
from headrace.store.folder import FolderStore
from tests.unit.archive_rows import ID, TOPIC
from tests.unit.archive_world import World, archive_all, world_of


def entry(start: int, end: int, rows: int | None = None, **more: object) -> Entry:
    files = (StoredFile(f"imu/date=2026-01-01/{start}", end - start if rows is None else rows, 1, ""),)
    return Entry(TOPIC, ID, 0, start, end, files=files, **more)  # type: ignore[arg-type]


def stage(committed: int | None, low: int = 0, high: int = 100) -> Stage:
    return Stage(low, high, committed, "")


def lost(gaps: list[tuple[int, str]]) -> int:
    return sum(n for n, _ in gaps)


def test_a_chain_without_a_hole_has_no_gap() -> None:
    assert chain_gaps([entry(5, 20), entry(20, 50)], ID, stage(50)) == []
    assert chain_gaps([], ID, stage(None)) == []
    assert chain_gaps([entry(0, 60)], ID, stage(50)) == [], "the ledger is there, its commit isn't yet"


def test_holes_are_counted_wherever_they_are() -> None:
    assert lost(chain_gaps([entry(0, 20), entry(30, 50)], ID, stage(50))) == 10
    assert lost(chain_gaps([entry(0, 20)], ID, stage(25))) == 5
    assert lost(chain_gaps([entry(0, 20, rows=17)], ID, stage(20))) == 3
    assert lost(chain_gaps([entry(0, 20, rows=15, lost=((15, 20),))], ID, stage(20))) == 5
    assert lost(chain_gaps([entry(0, 20)], ID, stage(20, low=27))) == 7


def test_an_earlier_incarnation_is_judged_by_its_own_chain() -> None:
    old = Entry(TOPIC, "older", 0, 0, 10, skipped=((0, 10),))
    assert chain_gaps([entry(0, 20), old], ID, stage(20)) == []


def test_rows_that_the_ledger_names_must_be_there() -> None:
    e = entry(0, 20)
    assert row_gaps([e], {e.files[0].key: 20}) == []
    assert lost(row_gaps([e], {e.files[0].key: 18})) == 2
    assert lost(row_gaps([e], {})) == 20


def test_cleans_counters_must_reach_what_it_committed() -> None:
    note = clean_note.CleanNote("x", 10, counts=clean_note.Counts(50, 20, 10, 8, 2))
    assert raw_gaps(Stage(0, 200, 100, ""), note) == []
    assert lost(raw_gaps(Stage(0, 200, 104, ""), note)) == 4
    assert lost(raw_gaps(Stage(130, 200, 100, ""), note)) == 30
    assert emitted_gaps(note, held=70, refused=0) == []
    assert lost(emitted_gaps(note, held=60, refused=3)) == 7


def test_what_is_pending_is_said_in_words() -> None:
    done = encode(ArchiveNote(ID))
    busy = encode(ArchiveNote(ID, intent=Intent(110, 1, 3)))
    flow = Flow(
        {}, {("imu.raw", 0): stage(90)}, {(TOPIC, 0): Stage(0, 100, 100, busy), (TOPIC, 1): Stage(0, 9, None, "")}
    )
    assert flow.pending() == [
        "imu.raw/0: 10 for clean",
        "imu.clean/0: a batch is being stored",
        "imu.clean/1: 9 for the archive",
    ]
    assert Flow({}, {("imu.raw", 0): stage(100)}, {(TOPIC, 0): Stage(0, 100, 100, done)}).pending() == []


def test_a_report_is_good_without_gap_and_duplicate() -> None:
    report = Report({"imu": Stream({0: Part(stored=5, lag=3), 1: Part(stored=6)}, dead_letters=2)})
    assert report.good
    out = report.to_json()["streams"]["imu"]
    assert (out["stored"], out["gaps"], out["duplicates"], out["dead_letters"]) == (11, 0, 0, 2)
    assert not Report({"imu": Stream({0: Part(gaps=1)})}).good
    assert not Report({"imu": Stream({0: Part(duplicates=1)})}).good


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[tuple[World, Source, FolderStore]]:
    """What the archive stores of a small log, in a folder that DuckDB reads."""
    pytest.importorskip("duckdb")
    world = world_of(4)
    archive_all(world)
    store = FolderStore(tmp_path)
    for key, data in world.store.objects.items():
        store.put(key, data)
    cfg = Config(store=Store(kind="folder", folder=tmp_path))
    with sql.connect(cfg, "") as connection:
        yield world, Source(connection, cfg, store), store


def test_rows_are_counted_by_file_and_partition(lake: tuple[World, Source, FolderStore]) -> None:
    world, source, _ = lake
    rows = source.load(TOPIC)
    assert rows.stored == {0: len(world.numbers())}
    assert rows.duplicates == {}
    assert row_gaps(world.entries(), rows.files) == []
    assert source.sources_between(0, 0, 24) == 24
    assert source.sources_between(0, 5, 10) == 5
    assert source.held([(0, 1, 3, 0), (0, 1, 3, 1), (1, 1, 3, 0)]) == 1
    assert source.load("nothing.clean").stored == {}


def test_rows_stored_twice_are_found(lake: tuple[World, Source, FolderStore]) -> None:
    world, source, store = lake
    key = next(k for k in sorted(world.store.objects) if k.endswith(".parquet"))
    store.put(key.replace("-o0000000000000000000", "-o0000000000000000009"), world.store.objects[key])
    again = source.load(TOPIC)
    extra = dict(source.load(TOPIC).files)[key]
    assert again.duplicates == {0: extra}
    assert again.stored == {0: len(world.numbers()) + extra}


def test_positions_that_began_again_with_a_new_topic_are_no_duplicates(
    lake: tuple[World, Source, FolderStore],
) -> None:
    """Both topics were made anew, as the guide says, and the archive adopted them: other readings, equal positions."""
    world, source, store = lake
    for key, data in world.store.objects.items():
        store.put(key.replace(ID, "B" * 22), data)
    again = source.load(TOPIC)
    assert again.stored == {0: 2 * len(world.numbers())}
    assert again.duplicates == {}
    key = next(k for k in sorted(world.store.objects) if k.endswith(".parquet"))
    store.put(key.replace("-o0000000000000000000", "-o0000000000000000009"), world.store.objects[key])
    assert source.load(TOPIC).duplicates == {0: source.load(TOPIC).files[key]}


def letter(number: int, stream: str) -> ReadLetter:
    return ReadLetter(bytes([number]), b"", {"stream": stream.encode()}, 0, number, 0)


def test_dead_letters_of_streams_that_the_configuration_lacks_are_named() -> None:
    report = Report({"imu": Stream()})
    count_letters(report, [letter(n, s) for n, s in enumerate(["imu", "", "vibration", "env", "vibration"])])
    assert report.streams["imu"].dead_letters == 1
    assert report.unrouted_dead_letters == 1
    assert report.other_dead_letters == {"env": 1, "vibration": 2}
    out = report.to_json()
    assert (out["unrouted_dead_letters"], out["other_dead_letters"]) == (1, {"env": 1, "vibration": 2})
