import json
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.deadletters import KafkaSource
from headrace.errors import FatalError, PoisonError, Reason, TransientError
from headrace.kafka import Message
from headrace.protocol.archive_note import ArchiveNote, Intent
from headrace.protocol.wire import HAS_EVENT_ID, HAS_POSITION, ORIGIN, PROVENANCE, Position, Provenance, pack_position
from processors.archive import parquet
from processors.archive.plan import LEAST_SPLIT, BatchPlan, File, Incarnation, Shape, Span, batch_plans, cuts
from processors.archive.put import WriteOnce
from processors.archive.tables import codec_of
from processors.group.schemas import Schemas
from processors.provenance import fields, has
from tests.unit.archive_rows import DAY, ID, SCHEMA, chunk_of, record, row
from tests.unit.archive_world import World
from tests.unit.toy_kafka import offset as offset_of

CLEAN, RAW = Incarnation("imu.clean", ID, 2), Incarnation("imu.raw", ID, 0)
SHAPE = Shape(1_000_000, 24.0 * 31, 3)


def lookup(schema_id: int) -> str:
    if schema_id == 404:
        raise PoisonError(Reason.UNKNOWN_SCHEMA, "no schema 404")
    if schema_id == 500:
        raise TransientError("the registry is away")
    if schema_id == 8:
        return json.dumps({**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "_offset", "type": "int"}]})
    return json.dumps(SCHEMA)


def message(offset: int, value: bytes | None, *, position: bool = True) -> Message:
    return record(offset, value, [came(offset, 1 if position else None).header()], epoch=4)


def came(offset: int, back: int | None = 1) -> Provenance:
    """What the header of the row at an offset says; `back`: how far before it the last row is."""
    prev = Position(1, offset - (back or 0), 0) if offset else ORIGIN
    position = b"" if back is None else pack_position(Position(1, offset, 0), prev)
    return Provenance(offset.to_bytes(16), 1_700_000_000_000_001, b"", 1, position)


def made(
    messages: list[Message], incarnation: Incarnation = CLEAN, note: ArchiveNote | None = None, shape: Shape = SHAPE
) -> list[BatchPlan]:
    span = Span(offset_of(messages[0]), offset_of(messages[-1]) + 1)
    return batch_plans(
        incarnation, note or ArchiveNote(ID), span, [chunk_of(messages)], Schemas(lookup, codec_of), shape
    )


def rows_of(file: File) -> list[dict[str, Any]]:
    import io

    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(file.data)).to_pylist()
    return rows


def test_rows_carry_where_they_came_from_after_the_contracts_columns() -> None:
    (plan,) = made([message(17, row(5))])
    (found,) = rows_of(plan.files[0])
    assert list(found)[:4] == ["device_id", "event_time", "ax", "_quality"]
    assert {k: v for k, v in found.items() if k.startswith("_")} == {
        "_quality": None,
        "_topic": "imu.clean",
        "_partition": 2,
        "_offset": 17,
        "_kafka_time": found["_kafka_time"],
        "_src_epoch": 1,
        "_src_offset": 17,
        "_src_index": 0,
        "_event_id": (17).to_bytes(16, "big"),
        "_received_at": found["_received_at"],
    }
    assert int(found["_kafka_time"].timestamp() * 1000) == 1_700_000_000_017
    assert plan.entry.last == Position(1, 17, 0)
    assert plan.entry.tail == plan.after.tail
    assert plan.before.intent == Intent(18, 1, 3)


def test_a_file_for_each_schema_and_date_in_kafkas_order() -> None:
    (plan,) = made([message(i, row(i, day=i % 2, schema_id=7 if i < 4 else 9)) for i in range(8)])
    assert [f.key.split("/")[1][5:] + f.key[-11:].removesuffix(".parquet") for f in plan.files] == [
        "1970-01-01-s7", "1970-01-02-s7", "1970-01-01-s9", "1970-01-02-s9",
    ]  # fmt: skip
    assert [[r["_offset"] for r in rows_of(f)] for f in plan.files] == [[0, 2], [1, 3], [4, 6], [5, 7]]


def test_versions_that_alternate_message_by_message_make_a_file_each() -> None:
    """As old and new firmware do, or two bridges during an update."""
    (plan,) = made([message(i, row(i, schema_id=(7, 9)[i % 2])) for i in range(1_000)])
    assert [f.rows for f in plan.files] == [500, 500]
    assert [r["_offset"] for f in plan.files for r in rows_of(f)] == [*range(0, 1_000, 2), *range(1, 1_000, 2)]


def test_the_same_batch_makes_the_same_bytes() -> None:
    messages = [message(i, row(i, day=i % 3)) for i in range(50)]
    assert made(messages) == made(messages)
    (first,) = made(messages)
    again = made(messages, note=first.before)
    assert [f.data for f in again[0].files] == [f.data for f in first.files]


def test_a_message_that_can_not_be_a_row_is_a_dead_letter_and_named_in_the_ledger() -> None:
    values = [row(0), None, b"", b"\0\0\0", row(4, schema_id=404), row(5, schema_id=8), row(6) + b"more", row(7)]
    values.append(row(8, day=4_000_000))
    (plan,) = made([message(i, v) for i, v in enumerate(values)])
    assert [r["_offset"] for f in plan.files for r in rows_of(f)] == [0, 7]
    assert plan.entry.refused == ((1, 7), (8, 9))
    assert [d.error.reason for d in plan.dead] == [
        Reason.MALFORMED, Reason.MALFORMED, Reason.MALFORMED, Reason.UNKNOWN_SCHEMA, Reason.UNKNOWN_SCHEMA,
        Reason.MALFORMED, Reason.OUT_OF_RANGE,
    ]  # fmt: skip
    assert plan.dead[0].source == KafkaSource("imu.clean", ID, 2, epoch=4, offset=1)
    assert plan.dead[4].value == values[5]


def test_a_stranger_in_a_clean_topic_is_refused_and_a_raw_topic_needs_no_positions() -> None:
    messages = [message(0, row(0)), message(1, row(1), position=False), message(2, row(2))]
    messages[2] = record(2, row(2), [came(2, 2).header()], epoch=4)
    (plan,) = made(messages)
    assert plan.entry.refused == ((1, 2),)
    (plan,) = made([message(i, row(i), position=False) for i in range(3)], RAW)
    found = rows_of(plan.files[0])
    assert len(found) == 3
    assert {r["_src_offset"] for r in found} == {None}
    assert plan.entry.last is None


def test_an_outage_of_the_registry_is_no_poison() -> None:
    with pytest.raises(TransientError):
        made([message(0, row(0, schema_id=500))])


def test_a_batch_is_cut_by_records_and_each_part_goes_on_where_the_last_ended() -> None:
    parts = made([message(i, row(i)) for i in range(10)], shape=Shape(4, 1e6, 3))
    assert [(p.entry.start, p.entry.end) for p in parts] == [(0, 4), (4, 8), (8, 10)]
    assert [p.before.last for p in parts] == [None, Position(1, 3, 0), Position(1, 7, 0)]
    (whole,) = made(
        [message(i, row(i)) for i in range(10)], note=ArchiveNote(ID, intent=Intent(10, 1, 3)), shape=Shape(4, 1e6, 3)
    )
    assert (whole.entry.start, whole.entry.end) == (0, 10), "a redo is not cut anew"


def test_many_dates_in_one_batch() -> None:
    (plan,) = made([message(i, row(i, day=i)) for i in range(400)], shape=Shape(10**6, 1e6, 3))
    assert len(plan.files) == 400
    assert sum(f.rows for f in plan.files) == 400
    assert date.fromisoformat(plan.files[-1].key.split("/")[1].removeprefix("date=")).toordinal() == 719163 + 399


@pytest.mark.parametrize("conditional", [True, False])
def test_a_file_is_never_replaced_by_other_rows(conditional: bool) -> None:
    store = World().store
    lake = WriteOnce(store, conditional)
    (plan,) = made([message(i, row(i)) for i in range(5)])
    (fewer,) = made([message(i, row(i)) for i in range(4)])
    (other,) = made([message(i, row(i)) for i in range(5)], shape=Shape(10**6, 1e6, 9))
    stored = lake.put_file(plan.files[0])
    assert lake.put_file(plan.files[0]) == stored
    assert lake.put_file(other.files[0]) == stored, "the same rows, compressed otherwise"
    assert len(other.files[0].data) != 0
    with pytest.raises(FatalError, match="other rows"):
        lake.put_file(fewer.files[0])
    assert store.get(plan.files[0].key) == plan.files[0].data


def test_rows_are_compared_whatever_wrote_them() -> None:
    table = pa.table({"x": np.array([1.0, float("nan"), 3.0]), "s": ["a", None, "c"]})
    assert parquet.same_rows(parquet.write([table], 1), parquet.write([table], 19))
    assert not parquet.same_rows(parquet.write([table], 1), parquet.write([table.slice(0, 2)], 1))
    assert not parquet.same_rows(parquet.write([table], 1), parquet.write([table.drop(["s"])], 1))
    assert not parquet.same_rows(parquet.write([table], 1), b"no parquet")


def test_a_days_edge_belongs_to_the_next_day() -> None:
    (plan,) = made([message(0, row(DAY - 1)), message(1, row(DAY))])
    assert ["date=1970-01-01" in f.key for f in plan.files] == [True, False]


def test_headers_that_are_none_of_clean_s_leave_the_row_without() -> None:
    odd = [record(0, b""), record(1, b"", [(PROVENANCE, b"short")]), record(2, b"", [came(2).header()])]
    found = chunk_of(odd)
    assert has(found.marks, HAS_EVENT_ID).tolist() == has(found.marks, HAS_POSITION).tolist() == [False, False, True]
    assert fields(found.marks)["received"].tolist() == [-1, -1, 1_700_000_000_000_001]
    assert found.marks[2].tobytes() == came(2).header()[1]
    (plan,) = made([record(0, row(0), [(PROVENANCE, b"short")])], RAW)
    (stored,) = rows_of(plan.files[0])
    assert (stored["_event_id"], stored["_received_at"], stored["_src_offset"]) == (None, None, None)


def test_a_batch_makes_the_same_bytes_however_it_was_read_and_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [message(i, row(i, day=i % 3) if i % 50 else b"bad") for i in range(400)]
    (whole,) = made(messages)
    monkeypatch.setattr("processors.archive.rows._PIECE_ROWS", 7)
    parts = [chunk_of(messages[i : i + 13]) for i in range(0, 400, 13)]
    (again,) = batch_plans(CLEAN, ArchiveNote(ID), Span(0, 400), parts, Schemas(lookup, codec_of), SHAPE)
    assert (again.files, again.entry, again.before, again.after) == (
        whole.files, whole.entry, whole.before, whole.after,
    )  # fmt: skip
    assert [(d.value, d.source, d.headers) for d in again.dead] == [(d.value, d.source, d.headers) for d in whole.dead]
    assert not parts  # they leave memory


def test_a_files_row_groups_are_those_of_one_table_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 64)
    table = pa.table({"x": np.arange(200.0), "s": ["a", None] * 100, "n": np.arange(200)})
    parts = [table.slice(i, 64) for i in range(0, 200, 64)]
    assert parquet.write(parts, 3) == parquet.write([table], 3)


def test_the_registry_away_costs_a_piece_not_the_batch() -> None:
    asked: list[object] = []
    away = [TransientError("away"), None]

    def patient(call: Any) -> Any:
        asked.append(call)
        if away and away.pop(0):
            return patient(call)
        return call()

    messages = [message(i, row(i)) for i in range(5)]
    codecs = Schemas(lookup, codec_of)
    (found,) = batch_plans(CLEAN, ArchiveNote(ID), Span(0, 5), [chunk_of(messages)], codecs, SHAPE, patient)
    assert asked[0] is asked[1]
    assert found == made(messages)[0]


@given(st.lists(st.integers(0, 100 * DAY), max_size=50), st.integers(1, 60))
def test_cuts_cover_all_and_hold_the_limit(times: list[int], most: int) -> None:
    ends = cuts(np.array(times, np.int64), most, 1.0)
    sizes = np.diff([0, *ends])
    assert sum(sizes) == len(times)
    assert all(0 < s <= most for s in sizes)


def test_a_long_span_of_event_time_is_cut() -> None:
    hourly = np.arange(10 * 1000, dtype=np.int64) * 3_600_000_000
    ends = cuts(hourly, 1_000_000, 24.0 * 50)
    assert ends[0] == 50 * 24 + 1
    spans = [hourly[b - 1] - hourly[a] for a, b in zip([0, *ends], ends, strict=False)]
    assert max(spans) <= 50 * DAY


def test_a_device_with_a_dead_clock_does_not_cut_everything_to_pieces() -> None:
    times = np.where(np.arange(10 * LEAST_SPLIT) % 2 == 0, 0, 10_000 * DAY)
    assert len(cuts(times, 1_000_000, 24.0)) == 10


def test_the_letter_of_a_row_without_a_position_says_no_more_than_its_header() -> None:
    nothing, bridges = record(0, row(0)), message(1, row(1), position=False)
    (plan,) = made([nothing, bridges, message(2, row(2))])
    assert [d.source.offset for d in plan.dead] == [0, 1]
    assert [d.headers for d in plan.dead] == [[], came(1, None).texts()]
    (plan,) = made([message(0, b"bad", position=False)], RAW)
    assert [d.headers for d in plan.dead] == [came(0, None).texts()]
