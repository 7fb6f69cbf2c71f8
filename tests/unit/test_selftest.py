from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bridge.decoders.base import Reading, Source
from bridge.decoders.json.decoder import JsonDecoder
from headrace.config import Config
from headrace.contracts import files
from headrace.errors import ConfigError, TransientError
from headrace.lake import layout
from headrace.operate import selftest
from headrace.operate.selftest import Row, message

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def config(route: str = "sensors/{device_id}/it", contract: str = "environment", folder: Path | None = None) -> Config:
    return Config.model_validate(
        {
            "streams": {"it": {"contract": contract, "routes": [route]}},
            "contracts": [str(folder)] if folder else [],
        }
    )


@pytest.mark.parametrize("contract", sorted(files.available()))
def test_the_bridge_takes_what_is_made_of_every_shipped_contract(contract: str) -> None:
    sent = message(config(contract=contract), "it", now=NOW)
    reading = orjson.loads(sent.payload)
    assert sent.topic == f"sensors/{sent.device}/it"
    assert reading["event_time"] == "2026-11-23T12:00:00.000000+00:00"
    assert "device_id" not in reading
    found = files.find(contract)
    captures = {"device_id": sent.device}
    (row,) = JsonDecoder(found, 7, tuple(captures)).decode(sent.payload, Source(captures), 1)
    assert isinstance(row, Reading)
    for name, value in reading.items():
        field = found.field(name)
        for one in value if isinstance(value, list) else [value]:
            assert field.minimum is None or name == "event_time" or one >= field.minimum
            assert field.maximum is None or name == "event_time" or one <= field.maximum
            assert one not in field.sentinels
    needed = {f.name for f in found.fields if not f.nullable} - {"device_id"}
    assert needed == set(reading) if needed > {"event_time"} else len(reading) == 2, "the bridge wants a value"


def test_a_route_without_a_device_has_it_in_the_payload() -> None:
    sent = message(config("plant/+/all"), "it")
    assert sent.topic == "plant/1/all"
    assert orjson.loads(sent.payload)["device_id"] == sent.device


def test_only_a_route_with_the_contract_s_own_keys_is_published_to() -> None:
    def of(*routes: dict[str, Any]) -> Config:
        return Config.model_validate({"streams": {"it": {"contract": "environment", "routes": routes}}})

    inside: dict[str, Any] = {"filter": "a/{gw}/up", "identity": "gw", "device": {"path": "dev.eui"}}
    packed = {"filter": "b/{device_id}", "compression": "gzip"}
    with pytest.raises(ConfigError, match=r"no route for JSON .*device\.path"):
        message(of(inside, packed), "it")
    assert message(of(inside, packed, {"filter": "c/{device_id}"}), "it").topic.startswith("c/")


def test_no_two_are_the_same_device() -> None:
    assert message(config(), "it").device != message(config(), "it").device


def test_a_payload_of_ones_own_keeps_its_values() -> None:
    sent = message(config(), "it", '{"temperature": 21.5, "device_id": "mine", "event_time": 1}', NOW)
    assert orjson.loads(sent.payload) == {"temperature": 21.5, "event_time": "2026-11-23T12:00:00.000000+00:00"}


@pytest.mark.parametrize("payload", ["[1]", "{", "3"])
def test_a_payload_that_is_no_object_is_refused(payload: str) -> None:
    with pytest.raises(ConfigError, match="--payload"):
        message(config(), "it", payload)


def test_a_field_without_a_value_of_its_own_asks_for_a_payload(tmp_path: Path) -> None:
    fields = [
        {"name": "device_id", "type": "string"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "raw", "type": "bytes"},
        {"name": "_quality", "type": ["null", "string"], "default": None},
    ]
    (tmp_path / "own.avsc").write_bytes(orjson.dumps({"type": "record", "name": "own", "fields": fields}))
    with pytest.raises(ConfigError, match=r"raw \(bytes\): give one with --payload"):
        message(config(contract="own", folder=tmp_path), "it")


def test_a_stream_that_is_none_or_that_nothing_feeds_is_refused() -> None:
    with pytest.raises(ConfigError, match="no stream 'that'; there are: it"):
        message(config(), "that")
    with pytest.raises(ConfigError, match="no route"):
        message(Config.model_validate({"streams": {"imu": {}}}), "imu")


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> list[Row | Exception | None]:
    """What each look into the lake gives; the last one again and again."""
    answers: list[Row | Exception | None] = []

    async def publish(*_: object) -> None:
        return None

    def find(*_: object) -> Row | None:
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(selftest, "_publish", publish)
    monkeypatch.setattr(selftest, "find", find)
    monkeypatch.setattr(selftest, "_PAUSE_SECONDS", 0.01)
    return answers


def test_it_looks_until_the_row_is_there(lake: list[Row | Exception | None]) -> None:
    lake += [None, TransientError("no store"), None, Row("it.clean", 1, 17)]
    told: list[str] = []
    assert selftest.run(config(), message(config(), "it"), 5, told.append) == Row("it.clean", 1, 17)
    assert told == ["no store"]


def test_no_row_in_time_is_said_with_where_to_look(lake: list[Row | Exception | None]) -> None:
    lake.append(None)
    with pytest.raises(TransientError, match=r"no row of selftest-\w{8} in it after 0\.05 s\. .*dlq list"):
        selftest.run(config(), message(config(), "it"), 0.05)


def test_a_store_that_stays_away_is_said(lake: list[Row | Exception | None]) -> None:
    lake.append(TransientError("no store"))
    with pytest.raises(TransientError, match="no store"):
        selftest.run(config(), message(config(), "it"), 0.05)


def test_the_row_is_found_in_a_lake_by_its_device_and_day(tmp_path: Path) -> None:
    cfg = Config.model_validate({
        "store": {"kind": "folder", "folder": tmp_path}, "streams": {"environment": {"routes": ["{device_id}"]}},
    })  # fmt: skip
    sent = message(cfg, "environment")
    assert selftest.find(cfg, sent) is None

    def store(device: str, day: datetime, offset: int) -> None:
        path = tmp_path / layout.data_key("environment.clean", "abc", 2, offset, 7, f"{day:%Y-%m-%d}")
        path.parent.mkdir(parents=True, exist_ok=True)
        row = {"device_id": device, "_topic": "environment.clean", "_partition": 2, "_offset": offset}
        pq.write_table(pa.table({k: [v] for k, v in row.items()}), path)

    today = datetime.now(UTC)
    store("another", today, 1)
    store(sent.device, today - timedelta(days=5), 2)
    assert selftest.find(cfg, sent) is None
    store(sent.device, today, 3)
    assert selftest.find(cfg, sent) == Row("environment.clean", 2, 3)
