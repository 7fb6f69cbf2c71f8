"""The audit of the fault suite must itself fail: for each way in which a lake can be wrong, a lake that is."""

import dataclasses
from collections.abc import Callable

import polars as pl
import pytest

from tests.faults import readings
from tests.faults.audit import audit
from tests.faults.evidence import ROWS, Evidence
from tests.faults.fleet import letter_ids
from tests.faults.readings import AXES, Kind

BOOT = "f1-abc"
NUMBERS, DEVICES = 8, 3
POISON = 5  # this number of each device is a dead letter


def sent(kind: Kind = Kind.BROKEN) -> pl.DataFrame:
    rows = [
        (d, f"{BOOT}-{d:03d}", n, 1_700_000_000_000_000 + n * 1000, int(kind if n == POISON else Kind.GOOD), True)
        for d in range(DEVICES)
        for n in range(NUMBERS)
    ]
    return pl.DataFrame(rows, schema=["device", "device_id", "sequence", "event_time", "kind", "acked"], orient="row")


def evidence(of: pl.DataFrame) -> Evidence:
    """What a pipeline without fault leaves: each device in a partition of its own, positions without gaps."""
    good = of.filter(pl.col("kind") == Kind.GOOD)
    placed = readings.with_values(good).with_columns(
        boot_id=pl.lit(BOOT),
        _quality=pl.lit(None, pl.String),
        partition=pl.col("device"),
        offset=pl.col("sequence"),
        src_epoch=pl.lit(0),
        src_offset=pl.col("sequence"),
        src_item=pl.lit(0),
    )
    rows = placed.select(*ROWS).cast(ROWS)
    refused = of.filter(pl.col("kind") != Kind.GOOD)
    ids = letter_ids(refused, BOOT)
    return Evidence(
        rows=rows,
        raw=rows.select("partition", "offset", "device_id", "boot_id", "sequence"),
        clean=rows.select("partition", "offset", "src_epoch", "src_offset", "src_item"),
        letters=pl.DataFrame({"key": ids, "letter_id": ids, "size": [9] * len(ids)}),
    )


def test_a_lake_that_holds_everything_once_passes() -> None:
    found = audit(sent(), BOOT, evidence(sent()))
    assert found.faults == []
    assert found.counts["obligations"] == NUMBERS * DEVICES
    assert found.counts["stored"] == (NUMBERS - 1) * DEVICES
    assert found.counts["letters"] == DEVICES


Spoil = Callable[[Evidence], Evidence]


def rows(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Spoil:
    return lambda e: dataclasses.replace(e, rows=change(e.rows))


def long(value: int) -> pl.Expr:
    return pl.lit(value, pl.Int64)


def again(frame: pl.DataFrame, **columns: pl.Expr) -> pl.DataFrame:
    return pl.concat([frame, frame.slice(3, 1).with_columns(**columns).select(frame.columns)])


SPOILT: list[tuple[str, str, Spoil]] = [
    ("a row removed", "lost", rows(lambda f: f.slice(1))),
    ("a row removed that Kafka had", "dropped", rows(lambda f: f.slice(1))),
    ("a row doubled", "doubled", rows(again)),
    ("a row at two positions", "doubled", rows(lambda f: again(f, offset=long(99)))),
    ("a value altered", "altered", rows(lambda f: f.with_columns(ax=pl.col("ax") + (pl.col("offset") == 2) * 0.1))),
    ("a value nulled", "altered", rows(lambda f: f.with_columns(gz=pl.when(pl.col("offset") != 2).then(pl.col("gz"))))),
    ("a time altered", "altered", rows(lambda f: f.with_columns(event_time=pl.col("event_time") + 1))),
    ("a note of quality", "altered", rows(lambda f: f.with_columns(_quality=pl.lit("ax:maximum:null")))),
    ("a row nobody sent", "invented", rows(lambda f: again(f, sequence=long(77), offset=long(99)))),
    ("a row of no position", "baseless", lambda e: dataclasses.replace(e, clean=e.clean.slice(1))),
    (
        "a position without a row",
        "unaccounted",
        lambda e: dataclasses.replace(e, clean=again(e.clean, offset=long(9), src_offset=long(9))),
    ),
    ("no dead letter", "lost", lambda e: dataclasses.replace(e, letters=e.letters.slice(1))),
    (
        "two dead letters",
        "doubled",
        lambda e: dataclasses.replace(
            e, letters=pl.concat([e.letters, e.letters.slice(0, 1).with_columns(key=pl.lit(b"other"))])
        ),
    ),
    (
        "a device's order reversed",
        "disordered",
        lambda e: dataclasses.replace(e, raw=e.raw.with_columns(offset=100 - pl.col("offset"))),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("what", "word", "spoil"), SPOILT, ids=[s[0] for s in SPOILT])
def test_a_lake_that_is_wrong_fails(what: str, word: str, spoil: Spoil) -> None:
    found = audit(sent(), BOOT, spoil(evidence(sent())))
    assert getattr(found, word), f"{what}: {found.counts}"
    assert any(word in text for text in found.faults)


def test_a_repeat_that_the_archive_dropped_is_accounted_for_by_its_source() -> None:
    e = evidence(sent())
    repeated = again(e.clean, offset=long(NUMBERS))
    assert audit(sent(), BOOT, dataclasses.replace(e, clean=repeated)).faults == []


def test_what_the_mqtt_broker_forgot_is_lost_and_was_not_dropped() -> None:
    e = evidence(sent())
    found = audit(
        sent(), BOOT, dataclasses.replace(e, rows=e.rows.slice(1), raw=e.raw.slice(1), clean=e.clean.slice(1))
    )
    assert (len(found.lost), found.dropped) == (1, [])


def test_a_fleet_of_which_nobody_heard_proves_nothing() -> None:
    for fleet in (sent().with_columns(acked=pl.lit(value=False)), sent().slice(0, 0)):
        found = audit(fleet, BOOT, dataclasses.replace(evidence(sent()), rows=pl.DataFrame(schema=ROWS)))
        assert any("untested" in words for words in found.faults)


def test_what_was_never_acknowledged_may_be_missing_but_not_twice() -> None:
    unsure = sent().with_columns(acked=pl.col("sequence") != 3)
    e = evidence(sent())
    without = dataclasses.replace(
        e,
        rows=e.rows.filter(pl.col("sequence") != 3),
        clean=e.clean.filter(pl.col("offset") != 3),
    )
    assert audit(unsure, BOOT, without).faults == []
    assert audit(unsure, BOOT, dataclasses.replace(e, rows=again(e.rows))).doubled


def test_a_redelivered_reading_is_no_disorder() -> None:
    e = evidence(sent())
    raw = pl.concat([e.raw, e.raw.filter(pl.col("sequence") < 3).with_columns(offset=pl.col("offset") + 50)])
    found = audit(sent(), BOOT, dataclasses.replace(e, raw=raw))
    assert found.faults == []
    assert found.copies == 3 * DEVICES


@pytest.mark.parametrize("kind", [Kind.OUT_OF_RANGE, Kind.LARGE])
def test_a_row_of_what_had_to_be_refused_is_invented(kind: Kind) -> None:
    of = sent(kind)
    all_good = of.with_columns(kind=pl.lit(int(Kind.GOOD), pl.Int64))
    e = evidence(of)
    assert audit(of, BOOT, dataclasses.replace(evidence(all_good), letters=e.letters)).invented


def test_values_of_arrays_are_those_that_devices_send() -> None:
    frame = readings.with_values(pl.DataFrame({"device": [0, 3, 23], "sequence": [0, 12_345, 9_999_999]}))
    for device, number, *values in frame.iter_rows():
        assert values == [readings.axis(name, number, device) for name in AXES]
