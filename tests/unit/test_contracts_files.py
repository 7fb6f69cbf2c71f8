"""Where contracts are found, and the shipped ones themselves."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest

from headrace.contracts import files, lint
from headrace.contracts.files import available, find, read, shipped
from headrace.errors import ConfigError

SHIPPED = ["device_audit", "device_events", "environment", "imu", "uploads", "vibration"]


def test_shipped_contracts_are_found() -> None:
    assert sorted(available()) == SHIPPED
    assert find("imu").name == "imu"


def test_in_a_wheel_they_are_package_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "headrace"
    (package / "contracts").mkdir(parents=True)
    (package / "schemas").mkdir()
    monkeypatch.setattr(files, "__file__", str(package / "contracts" / "files.py"))
    assert shipped() == package / "schemas"
    (package / "schemas").rmdir()
    assert shipped() == package.parent / "schemas"


def test_the_users_folders_come_first(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        (folder / "imu.avsc").write_text(find("imu").text, encoding="utf-8")
    (second / "pump.avsc").write_text(find("imu").text, encoding="utf-8")
    (second / "README.md").write_text("not a contract", encoding="utf-8")
    found = available([first, second])
    assert found["imu"] == first / "imu.avsc"
    assert found["pump"] == second / "pump.avsc"
    assert found["vibration"].parent == shipped()
    assert find("pump", [first, second]).name == "pump"


def test_an_unknown_name_names_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"no contract 'imv'.*environment, imu, uploads, vibration"):
        find("imv")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        available([tmp_path / "nope"])


def test_a_file_whose_name_can_not_name_a_contract_is_refused(tmp_path: Path) -> None:
    (tmp_path / "My Pump.avsc").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="Rename the file"):
        available([tmp_path])


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"\xff\xfe{", "not UTF-8"), (b"\0" * 5_000_000, "too large"), (b"{}", "type is")],
)
def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "x.avsc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as e:
        read(path)
    assert str(path) in str(e.value)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "imu.avsc"
    path.write_text("\ufeff" + find("imu").text, encoding="utf-8")
    assert read(path) == find("imu")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_contracts_have_nothing_to_mend(name: str) -> None:
    contract = find(name)
    assert lint.lint(contract) == []
    for field in contract.fields:
        assert field.doc
        measured = field.items or field.kind
        if measured in {"double", "float"}:
            assert field.unit is not None
            assert field.minimum is not None


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_contracts_are_read_by_the_row_reader_and_the_columnar_one(name: str) -> None:
    contract = find(name)
    values: dict[str, Any] = {"string": "x", "double": 1.5, "long": 1_700_000_000_000_000, "array": [0.5, 1.0]}
    full = {f.name: ["x"] if f.items == "string" else values[f.kind] for f in contract.fields}
    least = {f.name: None if f.nullable else full[f.name] for f in contract.fields}
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(json.loads(contract.text)), [full, least])
    out.seek(0)
    frame = pl.read_avro(out)
    assert frame.columns == [f.name for f in contract.fields]
    assert frame.height == 2


def test_every_environment_quantity_is_optional() -> None:
    required = [f.name for f in find("environment").fields if not f.nullable]
    assert required == ["device_id", "event_time"]
    for f in find("environment").fields:
        if f.kind == "double" and f.name != "battery":
            assert f.on_violation["minimum"] == "null"
            assert {-200, "NA"} <= set(f.sentinels)
