"""A derived stream whose function fails on 1 % of the readings and is corrected, with clean, derive and the archive
killed between: every reading has its rows in the lake once, made by one version.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

import headrace
from headrace import deadletters, kafka
from headrace.config import Config, load
from headrace.contracts.files import find
from headrace.operate import provision
from headrace.protocol import clean_note
from headrace.protocol.versions import FOLDER, digest_of
from headrace.protocol.wire import EVENT_ID_BYTES, Provenance
from headrace.store.open import open_store
from processors.avro.codec import Codec
from tests.integration.processes import Row, produce, running, wait_for
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-2")]
SOURCE, DERIVED, PARTITIONS, READINGS = "whole", "part", 2, 3_000
CODEC = Codec(find("environment").schema)
FUNCTION = """
def transform(df):
    {refuse}
    df["part"] = df.humidity.map(lambda h: list(range(int(h) % 4)))
    out = df.explode("part").dropna(subset="part")
    out["value"] = out.temperature + out.part.astype(float)
    out["made_by"] = {version}
    return out
"""
BROKEN = FUNCTION.format(refuse="assert not (df.humidity == 13).any(), 'thirteen'", version=1)
MENDED = FUNCTION.format(refuse="", version=2)


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Path:
    """A stream and one that is made of it, on the session's servers, their topics made."""
    over = {
        "contracts": ["."],
        "streams": {
            SOURCE: {"contract": "environment", "partitions": PARTITIONS, "routes": ["whole/{device_id}"]},
            DERIVED: {"from": SOURCE, "transform": "part.py"},
        },
        "bridge": {"client_id": "headrace-whole"},
        "clean": {"group": "whole-clean", "lookback": 500, "batch": 500},
        "derive": {"group": "whole-derive", "batch": 200},
        "archive": {"group": "whole-archive", "idle_seconds": 1, "max_age_seconds": 5},
        "dead_letters": {"topic": "whole-dead-letters"},
    }
    (tmp_path / "part.avsc").write_text(json.dumps(contract()))
    (tmp_path / "part.py").write_text(BROKEN)
    path = stack.config_file(tmp_path / "whole.yaml", over)
    provision.topics(load(path, {}))
    return path


def contract() -> dict[str, object]:
    """That of the derived stream."""
    time_type = {"type": "long", "logicalType": "timestamp-micros"}
    return {
        "type": "record", "name": DERIVED, "doc": "Parts of a reading.",
        "fields": [
            {"name": "device_id", "type": "string", "doc": "Whose reading."},
            {"name": "event_time", "type": time_type, "doc": "When.", "minimum": 946_684_800_000_000},
            {"name": "part", "type": "int", "doc": "Which part of it."},
            {"name": "value", "type": "double", "unit": "Cel", "doc": "What it comes to.", "maximum": 100},
            {"name": "made_by", "type": ["null", "int"], "default": None, "doc": "Version."},
            {"name": "_quality", "type": ["null", "string"], "default": None, "doc": "What cleaning did."},
        ],
    }  # fmt: skip


def send(config: Config, half: int, start: int) -> None:
    """Half of the readings to the raw topic."""
    numbers = range(half * READINGS // 2, (half + 1) * READINGS // 2)
    rows = readings(provision.contracts(config)[SOURCE], numbers, start)
    produce(config, f"{SOURCE}.raw", PARTITIONS, rows)


def humidity(number: int) -> int:
    """Of a reading: 13 in 1 % of them."""
    return number // PARTITIONS % 100


def readings(schema_id: int, numbers: range, start: int) -> Iterator[Row]:
    """Readings whose event time tells them apart."""
    base = {m.name: None for m in CODEC.node.members} | {"device_id": "d"}
    for n in numbers:
        row = base | {"event_time": start + n, "temperature": 20.0, "humidity": float(humidity(n))}
        yield CODEC.write(schema_id, row), [Provenance(n.to_bytes(EVENT_ID_BYTES)).header()]


def test_a_derived_stream_has_each_row_once_through_kills_and_a_corrected_function(
    settings: Path, stack: Stack, tmp_path: Path
) -> None:
    config = load(settings, {})
    start = time.time_ns() // 1000 - READINGS
    clean, derive = (kafka.consumer(config.kafka, group) for group in ("whole-clean", "whole-derive-part"))
    cleaned, made = ([(f"{SOURCE}.{which}", p) for p in range(PARTITIONS)] for which in ("raw", "clean"))
    rows_raw = [(f"{DERIVED}.raw", p) for p in range(PARTITIONS)]
    send(config, 0, start)
    with running("clean", settings):
        wait_for(clean, cleaned, READINGS // 2)
        for least in (READINGS // 8, READINGS // 3):
            with running("derive", settings):
                wait_for(derive, made, least)  # then kill -9
    (tmp_path / "part.py").write_text(MENDED)
    send(config, 1, start)
    with running("clean", settings), running("derive", settings):
        wait_for(derive, made, READINGS)
    letters = list(deadletters.read(config))
    assert 0 < len(letters) < READINGS // 50
    assert {(it.text("stage"), it.text("stream"), it.text("reason")) for it in letters} == {
        ("derive", DERIVED, "transform")
    }
    assert "AssertionError: thirteen (line 3)" in letters[0].text("detail")
    with ExitStack() as services:
        for service in ("clean", "derive", "archive"):
            services.enter_context(running(service, settings))
        stack.run("--config", str(settings), "dlq", "redrive", "--yes", "--stream", DERIVED)
        found = stack.json("--config", str(settings), "verify", "--wait", "90", "--json")
        tried = stack.json(
            "--config", str(settings), "transform", "test", "--stream", DERIVED, "--from", "raw", "--json"
        )
    assert found["good"], found
    assert found["all_stored"], found
    assert found["streams"][SOURCE]["stored"] == READINGS
    check(config, start, {int(n) for it in letters for n in [it.source["offset"]]})
    assert {tuple(v.digest.split(".")) for _, v in noted(derive, made)} == {(digest_of(MENDED), str(id_of(config)))}
    store = open_store(config.store)
    assert [store.get(f"{FOLDER}/{digest_of(text)}.py").decode() for text in (BROKEN, MENDED)] == [BROKEN, MENDED]
    assert (tried["version"], tried["failed"], tried["row_wise"]) == (digest_of(MENDED), 0, True)
    assert sum(offset or 0 for offset, _ in kafka.committed(clean, rows_raw).values()) >= len(wanted())
    for client in (clean, derive):
        client.close()


def id_of(config: Config) -> int:
    """The schema id of the derived stream's contract."""
    return provision.contracts(config)[DERIVED]


def noted(client: kafka.Consumer, places: list[tuple[str, int]]) -> list[tuple[int, clean_note.Version]]:
    """Each version in force, by partition."""
    found = kafka.committed(client, places)
    return [(p, v) for (_, p), (_, text) in found.items() for v in clean_note.decode(text).versions]


def wanted() -> set[tuple[int, int, float]]:
    """(number of the reading, part, value) of each row that is to be there."""
    return {(n, part, 20.0 + part) for n in range(READINGS) for part in range(humidity(n) % 4)}


def check(config: Config, start: int, refused: set[int]) -> None:
    """Each row is in the lake once; those of a partition's readings are first by the one version, then by the other."""
    rows: pd.DataFrame = headrace.query(
        f"select epoch_us(event_time) - {start} as n, part, value, made_by from {DERIVED} order by n, part",
        config=config,
    )
    assert not rows.duplicated(["n", "part"]).any()
    assert set(rows[["n", "part", "value"]].itertuples(index=False, name=None)) == wanted()
    assert set(rows.made_by) == {1, 2}
    redriven = rows.n // PARTITIONS % 100 == 13
    assert {n // PARTITIONS for n in rows.n[redriven & (rows.made_by == 2)]} >= refused
    for p in range(PARTITIONS):
        mine = rows[(rows.n % PARTITIONS == p) & ~redriven]
        assert mine.made_by.is_monotonic_increasing
