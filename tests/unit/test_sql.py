"""SQL over a lake in a folder: the same views as over S3."""

import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace
from headrace.config import Config
from headrace.config.model import Stream
from headrace.contracts.files import find
from headrace.errors import ConfigError, TransientError
from headrace.lake import layout
from headrace.lake.sql import connect, run
from headrace.lake.views import sql_type

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def config(folder: Path, **more: Any) -> Config:
    streams: dict[str, Any] = {name: {} for name in ("imu", "environment", "vibration")}
    return Config.model_validate({"store": {"kind": "folder", "folder": folder}, "streams": streams, **more})


def store(folder: Path, topic: str, day: int, schema_id: int, columns: dict[str, Any]) -> None:
    path = folder / layout.data_key(topic, "abc", 0, day, schema_id, f"2026-01-{day:02d}")
    path.parent.mkdir(parents=True, exist_ok=True)
    n = len(next(iter(columns.values())))
    times = [START + dt.timedelta(days=day - 1, milliseconds=i) for i in range(n)]
    table = {"device_id": ["w"] * n, "event_time": pa.array(times, pa.timestamp("us", "UTC")), **columns}
    pq.write_table(pa.table(table), path)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    store(tmp_path, "imu.clean", 1, 7, {"ax": [1.0, 2.0, 3.0]})
    store(tmp_path, "imu.clean", 2, 7, {"ax": [4.0, 5.0]})
    store(tmp_path, "imu.clean", 2, 12, {"ax": [6.0], "extra": ["new"]})
    store(tmp_path, "imu.raw", 2, 7, {"ax": [9.0]})
    store(tmp_path, "vibration.clean", 1, 8, {"samples": pa.array([[1.5, 2.5], [3.5]], pa.list_(pa.float32()))})
    return tmp_path


def test_a_stream_is_a_view_over_all_its_files(lake: Path) -> None:
    out = headrace.query("select count(*) n, sum(ax) s, count(extra) e from imu", config=config(lake))
    assert isinstance(out, pd.DataFrame)
    assert out.to_dict("records") == [{"n": 6, "s": 21.0, "e": 1}]


def test_a_table_that_is_not_there_is_answered_with_those_that_are(lake: Path) -> None:
    cfg = config(lake, archive={"topics": ["imu.clean", "imu.raw"]})
    with pytest.raises(ConfigError) as refused:
        headrace.query("select * from pumps", config=cfg)
    words = str(refused.value)
    assert words.endswith("This configuration has the tables imu, environment, vibration, imu.raw, dead_letters")
    assert "pumps" in words
    assert "Did you mean" not in words


def test_a_stream_may_be_called_as_a_word_of_sql(lake: Path) -> None:
    store(lake, "order.clean", 1, 7, {"ax": [1.5]})
    cfg = config(lake).model_copy(update={"streams": {"order": Stream(contract="imu"), "imu": Stream()}})
    assert headrace.query('select ax from "order" order by ax', config=cfg).to_dict("records") == [{"ax": 1.5}]
    with pytest.raises(ConfigError, match='needs double quotes: "order"'):
        headrace.query("select ax from order", config=cfg)
    with pytest.raises(ConfigError, match='the tables "order", imu, dead_letters'):
        headrace.query("select * from pumps order by 1", config=cfg)
    empty: list[str] = []
    with connect(cfg, "select * from imu order by 1", empty=empty.append) as sql:
        assert sql.execute("select count(*) from duckdb_views() where view_name = 'order'").fetchall() == [(0,)]
    assert empty == []


def test_times_are_utc_and_the_partition_is_a_date(lake: Path) -> None:
    sql = "select event_time, date, typeof(date) t from imu where date = '2026-01-02' and event_time < '2026-01-03'"
    out = headrace.query(sql, config=config(lake))
    assert len(out) == 3
    assert out.event_time.max() == pd.Timestamp("2026-01-02T00:00:00.001Z")
    assert set(out.t) == {"DATE"}


def test_samples_of_a_waveform_can_be_unnested(lake: Path) -> None:
    out = headrace.query("select unnest(samples) s from vibration", config=config(lake))
    assert out.s.tolist() == [1.5, 2.5, 3.5]


def test_a_stream_without_files_has_the_contracts_columns_and_no_rows(lake: Path) -> None:
    missing: list[str] = []
    with connect(config(lake), "from environment", empty=missing.append) as db:
        out = run(db, "select temperature, event_time, date, _offset from environment").to_arrow_table()
    assert missing == ["environment"]
    assert [f"{f.name} {f.type}" for f in out.schema] == [
        "temperature double", "event_time timestamp[us, tz=UTC]", "date date32[day]", "_offset int64",
    ]  # fmt: skip
    assert out.num_rows == 0


def test_another_archived_topic_has_its_own_view(lake: Path) -> None:
    cfg = config(lake, archive={"topics": ["imu.raw", "imu.clean"]})
    out = headrace.query("select (select sum(ax) from imu.raw) raw, (select max(imu.ax) from imu) clean", config=cfg)
    assert out.to_dict("records") == [{"raw": 9.0, "clean": 6.0}]


def test_what_there_is_can_be_asked(lake: Path) -> None:
    assert headrace.query("show tables", config=config(lake)).name.tolist() == ["environment", "imu", "vibration"]
    assert "ax" in headrace.query("describe imu", config=config(lake)).column_name.tolist()


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select ax from where", "LINE 1"),
        ("select ax from", "end of input"),
        ("select axx from imu", "axx"),
        ("select * from pumps", "pumps"),
        ("", "no SQL"),
        ("-- nothing", "no SQL"),
        ("copy imu to 'x.csv'", "only queries"),
        ("explain analyze copy imu to 'x.csv'", "only queries"),
        ("EXPLAIN\nANALYZE copy imu to 'x.csv'", "only queries"),
        ("explain (analyze) copy imu to 'x.csv'", "only queries|does not run"),
        ("insert into imu values (1)", "only queries"),
        ("select 1; attach 'x.db'", "only queries"),
        ("install httpfs", "only queries"),
        ("set threads = 1", "only queries"),
        ("drop view imu", "only queries"),
        ("export database 'x'", "only queries"),
    ],
)
def test_wrong_or_changing_sql_is_refused(
    lake: Path, sql: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("empty")
    monkeypatch.chdir(elsewhere)
    with pytest.raises(ConfigError, match=words):
        headrace.query(sql, config=config(lake))
    assert list(elsewhere.iterdir()) == []


def test_after_our_own_extension_no_unsigned_one_is_loaded(tmp_path: Path) -> None:
    """Ours is not checked, to save the time. Nothing is asked of the store, so it need not be there."""
    store = {"endpoint": "127.0.0.1:9", "access_key": "a", "secret_key": "b"}
    sql = "select current_setting('allow_unsigned_extensions')"
    with connect(Config.model_validate({"store": store}), sql) as lake:
        assert run(lake, sql).fetchall() == [(False,)]
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            lake.execute("set allow_unsigned_extensions = true")
        (tmp_path / "x.duckdb_extension").write_bytes(b"x" * 1024)
        with pytest.raises(duckdb.Error):
            lake.load_extension(str(tmp_path / "x.duckdb_extension"))


@pytest.mark.parametrize(
    "sql", ["explain select 1", "explain analyze select 1", "pivot imu on ax using count(*)", "values (1)"]
)
def test_every_kind_of_query_runs(lake: Path, sql: str) -> None:
    assert len(headrace.query(sql, config=config(lake))) > 0


def test_a_store_that_is_away_is_transient_and_no_key_is_shown() -> None:
    cfg = Config.model_validate({
        "store": {"endpoint": "127.0.0.1:9", "access_key": "theaccesskey", "secret_key": "the'secret"},
        "streams": {"imu": {}},
    })  # fmt: skip
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:9") as caught:
        headrace.query("from imu", config=cfg)
    assert "thesecret" not in str(caught.value).replace("'", "")
    assert "theaccesskey" not in str(caught.value)


def test_what_does_not_fit_into_memory_has_a_folder_of_its_own_where_one_may_write(lake: Path) -> None:
    """The working directory, DuckDB's own choice, can't be written in a container; two may not share their files."""
    ask = "select current_setting('temp_directory')"
    with connect(config(lake), ask) as one, connect(config(lake), ask) as other:
        folders = {Path(it.execute(ask).fetchall()[0][0]) for it in (one, other)}
    assert len(folders) == 2
    assert {f.parent for f in folders} == {Path(tempfile.gettempdir())}


def test_the_types_of_columns() -> None:
    names = ("device_id", "event_time", "samples", "temperature", "sequence")
    types = [sql_type(find("vibration").field(name).type) for name in names]
    assert types == ["VARCHAR", "TIMESTAMPTZ", "FLOAT[]", "DOUBLE", "BIGINT"]


def test_a_bucket_is_that_of_time_bucket_in_utc(lake: Path) -> None:
    """Before 1970 and after it, for widths that divide a day and that do not."""
    times = (
        "select make_timestamptz((r * 7919 * 3600000123) % 4000000000000000 - 1000000000000000) t from range(2900) _(r)"
        " union all select make_timestamptz((r - 50) * 150000000) from range(100) _(r)"  # close to 1970
    )
    for width in ("1 hour", "90 seconds", "250 milliseconds", "1 day", "7 days", "13 minutes"):
        one, other = f"bucket(t, interval '{width}')", f"time_bucket(interval '{width}', t)"
        sql = f"select count(*) n, count(*) filter ({one} = {other}) same, any_value(typeof({one})) kind from ({times})"
        assert headrace.query(sql, config=config(lake)).to_dict("records") == [
            {"n": 3000, "same": 3000, "kind": "TIMESTAMP WITH TIME ZONE"}
        ], width
    sql = "select bucket(event_time, interval '1 hour') h, count(*) n from imu group by h order by h"
    assert headrace.query(sql, config=config(lake)).n.tolist() == [3, 3]
    with pytest.raises(ConfigError, match="months and years have no fixed length"):
        headrace.query("select bucket(event_time, interval '1 month') from imu", config=config(lake))


def uploaded(upload: str, rows: list[int], redrive: int = 0) -> pa.Array:
    ids = [bytes.fromhex(upload) + redrive.to_bytes(4) + row.to_bytes(4) for row in rows]
    return pa.array(ids, pa.binary(16))


A, B = "6f1c0a92e3b74d55", "00000000000000ff"


def test_a_stream_has_the_rows_of_its_files_with_upload_and_row(tmp_path: Path) -> None:
    store(tmp_path, "imu.clean", 1, 7, {"ax": [1.0, 2.0], "_event_id": pa.array([b"x" * 16] * 2, pa.binary(16))})
    store(tmp_path, "imu_files.clean", 2, 7, {"ax": [3.0, 4.0, 5.0], "_event_id": uploaded(A, [0, 1, 2**31 - 2])})
    store(tmp_path, "imu_files.clean", 3, 7, {"ax": [6.0], "_event_id": uploaded(B, [7], redrive=1)})
    cfg = config(tmp_path).model_copy(
        update={"streams": Config.model_validate({"streams": {"imu": {"files": True}}}).streams}
    )
    found = headrace.query("select ax, _upload u, _row r from imu order by ax", config=cfg)
    assert found["ax"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert found["u"].fillna("").tolist() == ["", "", A, A, A, B]
    assert found["r"].dropna().tolist() == [0, 1, 2**31 - 2, 7]
    own = headrace.query(f"select ax from imu_files where _upload = '{B}'", config=cfg)
    assert own["ax"].tolist() == [6.0]
    retired = tmp_path / "_uploads" / "retired"
    retired.mkdir(parents=True)
    (retired / f"{A}.json").write_text("{}")
    for stream in ("imu", "imu_files"):
        rest = headrace.query(f"select ax from {stream} where _upload is not null", config=cfg)
        assert rest["ax"].tolist() == [6.0]


def test_a_stream_that_takes_files_has_their_columns_before_there_are_any(tmp_path: Path) -> None:
    cfg = config(tmp_path).model_copy(
        update={"streams": Config.model_validate({"streams": {"imu": {"files": True}}}).streams}
    )
    for stream in ("imu", "imu_files"):
        assert headrace.query(f"select _upload, _row from {stream}", config=cfg).empty
    assert headrace.query("select upload, file from uploads", config=cfg).empty
    store(tmp_path, "imu.clean", 1, 7, {"ax": [1.0]})
    assert headrace.query("select _row from imu", config=cfg)["_row"].isna().tolist() == [True]


def test_a_reading_that_came_live_and_in_a_file_counts_once(tmp_path: Path) -> None:
    numbers = {"boot_id": ["a", "a"], "sequence": [1, 2]}
    ids = pa.array([b"x" * 16] * 2, pa.binary(16))
    store(tmp_path, "imu.clean", 1, 7, {"ax": [1.0, 2.0], "_event_id": ids, **numbers})
    more = {"boot_id": ["a", "a", "b", None], "sequence": [2, 3, 1, None]}
    store(
        tmp_path, "imu_files.clean", 2, 7, {"ax": [2.5, 3.0, 4.0, 5.0], "_event_id": uploaded(A, [0, 1, 2, 3]), **more}
    )
    cfg = config(tmp_path).model_copy(
        update={"streams": Config.model_validate({"streams": {"imu": {"files": True}}}).streams}
    )
    assert headrace.query("select ax from imu order by ax", config=cfg)["ax"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert len(headrace.query("select ax from imu_files", config=cfg)) == 4
