"""Numbers of devices, from files as the archive writes them, against what was put in."""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.verify import _say_devices
from headrace.config import Config
from headrace.config.connect import Store
from headrace.contracts.files import find
from headrace.contracts.model import Contract
from headrace.lake import layout, sql
from headrace.lake.devices import Devices, Run, numbering, read
from headrace.lake.rows import Source
from headrace.lake.verify import Report, Stream
from headrace.store.folder import FolderStore
from tests.profiles import examples

pytest.importorskip("duckdb")
TOPIC, IMU = "imu.clean", find("imu")
SCHEMA = pa.schema({
    "device_id": pa.string(), "event_time": pa.timestamp("us", "UTC"), "sequence": pa.int64(), "boot_id": pa.string(),
    "_offset": pa.int64(), "_src_epoch": pa.int32(), "_src_offset": pa.int64(), "_src_index": pa.int32(),
    "_event_id": pa.binary(16),
})  # fmt: skip


@dataclass
class Log:
    """Rows in the order of a partition's offsets."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, device: str, sequence: int | None, boot: str | None, time: int) -> None:
        self.rows.append({
            "device_id": device, "event_time": time * 1_000_000, "sequence": sequence, "boot_id": boot,
            "_offset": len(self.rows),
        })  # fmt: skip

    def add_all(self, numbers: Sequence[int], boot: str | None = None, time: int = 0, device: str = "d") -> None:
        for i, number in enumerate(numbers):
            self.add(device, number, boot, time + i)


@contextmanager
def source_of(*files: tuple[list[dict[str, Any]], pa.Schema], partition: int = 0) -> Iterator[Source]:
    """A lake of these files, each of a schema of its own."""
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder))
        for i, (rows, schema) in enumerate(files):
            out = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(rows, schema), out)
            store.put(layout.data_key(TOPIC, "A" * 22, partition, i, i, "2026-01-01"), out.getvalue().to_pybytes())
        cfg = Config(store=Store(kind="folder", folder=Path(folder)))
        with sql.connect(cfg, "") as lake:
            yield Source(lake, cfg, store)


def read_of(source: Source, contract: Contract | None, *, every: bool = False) -> Devices | None:
    """What `verify` says of the devices."""
    rows = source.load(TOPIC, numbering(contract))
    return read(source, every=every) if rows.numbered else None


def found(log: Log, contract: Contract = IMU, *, every: bool = True) -> Devices:
    with source_of((log.rows, SCHEMA)) as source:
        devices = read_of(source, contract, every=every)
    assert devices is not None
    return devices


def holes(numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    inside = sorted(set(numbers))
    return tuple((a + 1, b - 1) for a, b in itertools.pairwise(inside) if b > a + 1)


@st.composite
def runs(draw: st.DrawFn) -> list[tuple[list[int], list[int]]]:
    """Runs of one device: the numbers that are stored, from 0 on with some left out; and those stored once more."""
    out = []
    for _ in range(draw(st.integers(1, 4))):
        numbers = [0, *sorted(draw(st.sets(st.integers(1, 30), min_size=1, max_size=20)))]
        out.append((numbers, draw(st.lists(st.sampled_from(numbers), max_size=4))))
    return out


@examples(0.25)
@given(st.dictionaries(st.sampled_from("abc"), runs(), min_size=1), st.booleans())
def test_missing_and_repeated_numbers_are_those_left_out_and_sent_again(
    devices: dict[str, list[tuple[list[int], list[int]]]], booted: bool
) -> None:
    log, expected = Log(), []
    for device, its in devices.items():
        for i, (numbers, again) in enumerate(its):
            boot = f"boot-{i}" if booted else None
            log.add_all(numbers, boot, 1000 * i, device)
            for number in again:  # a copy comes late, with the time of the first
                log.add(device, number, boot, 1000 * i + numbers.index(number))
            missing = sum(b - a + 1 for a, b in holes(numbers))
            expected.append(
                Run(device, boot, 0, numbers[-1], len(numbers), missing, holes(numbers)[:5], len(again))
            )  # fmt: skip
    answer = found(log)
    assert sorted(answer.listed, key=repr) == sorted(expected, key=repr)
    assert (answer.devices, answer.runs) == (len(devices), len(expected))
    assert answer.missing == sum(r.missing for r in expected)
    assert answer.again == sum(r.again for r in expected)


def test_a_restart_with_a_new_boot_id_is_no_gap() -> None:
    log = Log()
    log.add_all(range(500, 700), "one")
    log.add_all(range(50), "two", 1000)
    assert (found(log).missing, found(log).again, found(log).runs) == (0, 0, 2)


def test_a_restart_without_a_boot_id_is_no_thousand_duplicates() -> None:
    log = Log()
    log.add_all(range(2000))
    log.add_all([*range(10), *range(12, 2000)], time=5000)
    answer = found(log)
    assert (answer.runs, answer.again, answer.missing) == (2, 0, 2)
    assert [r.ranges for r in answer.listed if r.missing] == [((10, 11),)]


def test_a_number_that_never_moves_is_one_run() -> None:
    log = Log()
    log.add_all([0] * 50)
    assert (found(log).runs, found(log).missing, found(log).again) == (1, 0, 0)


def test_a_clock_set_back_at_a_restart_without_a_boot_id_is_no_duplicate() -> None:
    log = Log()
    log.add_all(range(100), time=1_000_000)
    log.add_all(range(80), time=0)
    assert (found(log).missing, found(log).again) == (0, 0)


def test_readings_that_come_late_fill_their_places() -> None:
    for boot in ("one", None):
        log = Log()
        for number in (0, 1, 2, 6, 7, 4, 5, 3, 8):
            log.add("d", number, boot, number)
        assert (found(log).runs, found(log).missing, found(log).again) == (1, 0, 0), boot


def test_with_a_boot_id_the_number_alone_tells_a_copy() -> None:
    log = Log()
    log.add_all([1, 2, 3], "one")
    log.add("d", 2, "one", 99)  # without a device's time, each copy has its own time of arrival
    assert (found(log).again, found(log).runs) == (1, 1)


def test_the_extremes_of_a_sequence_do_not_overflow() -> None:
    log = Log()
    log.add_all([0, 2**63 - 1], "one")
    assert found(log).missing == 2**63 - 2


def test_only_what_is_wrong_is_listed_the_words_name_it() -> None:
    log = Log()
    log.add_all([0, 1, 2], "fine", device="a")
    log.add_all([0, 2, 5, 7, 9, 11, 13], "bad", device="b")
    log.add_all([0, 1, 1], "twice", device="c")
    assert found(log).wrong == 2
    listed = found(log, every=False).listed
    assert [run.device for run in listed] == ["b", "c"]
    assert listed[0].words() == "b (boot bad): missing 7 of the numbers 0-13: 1, 3-4, 6, 8, 10, ..."
    assert listed[1].words() == "c (boot twice): stored again: 1"


def test_files_of_a_schema_without_numbers_are_left_out() -> None:
    bare = pa.schema([f for f in SCHEMA if f.name not in {"sequence", "boot_id"}])
    row = {"device_id": "d", "event_time": 0, "_offset": 0}
    log = Log()
    log.add_all([4, 6], "one")
    with source_of(([row], bare), (log.rows, SCHEMA)) as source:
        devices = read_of(source, IMU)
        assert devices is not None
        assert (devices.numbers, devices.missing) == (2, 1)
    with source_of(([row], bare)) as source:
        assert read_of(source, IMU) is None
    with source_of() as source:
        assert read_of(source, IMU) is None
        assert read_of(source, None) is None


def test_rows_without_a_number_say_nothing() -> None:
    log = Log()
    log.add("d", None, None, 1)
    with source_of((log.rows, SCHEMA)) as source:
        assert read_of(source, IMU) is None


def test_missing_numbers_are_a_warning() -> None:
    devices = Devices(1, 1, 2, 1, 0, 1, (Run("d", "b", 1, 3, 2, 1, ((2, 2),), 0),))
    report = Report({"imu": Stream(devices=devices)})
    assert report.good
    assert not report.numbers_good
    assert report.to_json()["streams"]["imu"]["devices"]["listed"][0]["missing_ranges"] == [[2, 2]]
    assert Report({"imu": Stream(devices=Devices(1, 1, 2, 0, 0, 0, ()))}).numbers_good


def test_what_a_device_calls_its_boot_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run("d", "\x1b]0;owned\x07", 0, 2, 2, 1, ((1, 1),), 0)
    report = Report({"imu": Stream(devices=Devices(1, 1, 2, 1, 0, 1, (run,)))})
    _say_devices(report, every=True)
    assert "\x1b" not in (said := capsys.readouterr().err)
    assert r"(boot \x1b]0;owned\x07)" in said
