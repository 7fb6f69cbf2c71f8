"""Uploads in the configuration and the store: streams that take files, orders, receipts, what is retired."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from headrace.config import Config, check
from headrace.errors import ConfigError
from headrace.store.folder import FolderStore
from headrace.uploads import desk as desks
from headrace.uploads import order as orders
from headrace.uploads.desk import Desk, Receipt
from headrace.uploads.order import Order
from tests.unit.load_world import PROFILE, order

RECEIPT = Receipt("6f1c0a92e3b74d55", 0, 10, 1_700_000_000)


def config(**streams: dict[str, object]) -> Config:
    return Config.model_validate({"streams": streams})


def test_a_stream_that_takes_files_brings_their_stream_and_that_of_uploads() -> None:
    it = config(imu={"files": True, "retention_hours": 24, "routes": ["a/{device_id}"]}, uploads={"partitions": 6})
    assert {*it.streams} == {"imu", "imu_files", "uploads"}
    filed = it.streams["imu_files"]
    assert (filed.contract, filed.source, filed.partitions, filed.retention_hours) == ("imu", "uploads", 6, 24)
    assert (filed.routes, filed.files, filed.of_files, it.files_of("imu")) == ((), False, True, "imu_files")
    assert it.derived == ("imu_files",)
    assert it.group_of("imu_files") == "headrace-derive-imu_files"
    assert check.problems(it, [check.Service.DERIVE, check.Service.PROVISION]) == []


def test_without_files_nothing_is_added() -> None:
    it = config(imu={"routes": ["a/{device_id}"]})
    assert {*it.streams} == {"imu"}
    assert it.files_of("imu") == ""


@pytest.mark.parametrize(
    ("streams", "words"),
    [
        ({"imu": {"files": True}, "imu_files": {}}, "there is such a stream"),
        ({"imu": {}, "x": {"from": "imu", "transform": "x.py", "files": True}}, "it takes no files"),
    ],
)
def test_what_can_take_no_files_is_refused(streams: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Config.model_validate({"streams": streams})


def test_an_upload_is_known_by_content_table_profile_and_stream() -> None:
    one = orders.upload_id("a" * 64, 0, "b" * 64, "imu_files")
    assert len(one) == 16
    others = [
        ("c" * 64, 0, "b" * 64, "imu_files"),
        ("a" * 64, 1, "b" * 64, "imu_files"),
        ("a" * 64, 0, "d" * 64, "imu_files"),
    ]
    assert len({one, *(orders.upload_id(*it) for it in others)}) == 4


def test_event_ids_say_which_row_of_which_upload() -> None:
    upload = "6f1c0a92e3b74d55"
    rows = np.array([0, 1, 2**31 - 1])
    ids = [bytes(it) for it in orders.row_ids(upload, rows)]
    assert ids == [orders.row_id(bytes.fromhex(upload), int(row)) for row in rows]
    again = orders.redriven(ids[1], 3)
    assert (again[:8], again[8:12], again[12:]) == (ids[1][:8], b"\0\0\0\3", ids[1][12:])


def test_the_first_order_of_an_upload_stays(tmp_path: Path) -> None:
    it = Desk(FolderStore(tmp_path))
    first = order("five")
    assert it.claim(first) == first
    assert it.claim(first._replace(file="other name", event_time=1)) == first
    assert it.known() == {first.upload}
    with pytest.raises(ConfigError, match="another upload"):
        it.claim(first._replace(recording="0" * 64))


def test_receipts_say_what_is_loaded(tmp_path: Path) -> None:
    it = Desk(FolderStore(tmp_path))
    assert it.receipts(RECEIPT.upload) == []
    it.settle("a-p0-o1", RECEIPT._replace(next_row=4, failed="it breaks off"))
    assert it.loaded() == set()
    assert desks.first_row(it.receipts(RECEIPT.upload)) == 4
    it.settle("a-p0-o2", RECEIPT)
    it.settle("a-p0-o2", RECEIPT._replace(next_row=99))  # the first stays
    assert it.loaded() == {RECEIPT.upload}
    found = it.receipts(RECEIPT.upload)
    assert desks.complete(found) == RECEIPT
    assert desks.first_row(found) == 10


def test_orders_come_back_oldest_first_and_retired_ones_are_told(tmp_path: Path) -> None:
    it = Desk(FolderStore(tmp_path))
    late, early = order("five"), order("long")._replace(event_time=5)
    for one in (late, early):
        it.claim(one)
    assert it.orders(it.known()) == [early, late]
    assert it.retire(late.upload, "a test") is True
    assert it.retire(late.upload, "again") is False
    assert it.retired() == {late.upload}
    it.restore(late.upload)
    assert it.retired() == set()


def test_a_profile_comes_back_as_it_was(tmp_path: Path) -> None:
    it = Desk(FolderStore(tmp_path))
    it.keep_profile(PROFILE)
    assert it.profile(PROFILE.digest) == PROFILE


def test_an_order_has_what_its_contract_wants() -> None:
    from headrace.contracts import files

    assert [*Order._fields, "_quality"] == [f.name for f in files.find("uploads").fields]
