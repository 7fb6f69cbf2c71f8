"""Calibration: the table, what it makes of a value, and that the bytes of a row do not depend on its batch."""

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from headrace.cli import context
from headrace.cli.transform import app
from headrace.config import check, load
from headrace.contracts.calibration import Table, parse, read
from headrace.contracts.model import parse as contract_of
from headrace.errors import ConfigError
from headrace.protocol.versions import digest_of
from headrace.transforms.calibrate import Calibration
from headrace.transforms.code import Code
from headrace.transforms.making import Making
from headrace.transforms.run import Transform
from headrace.transforms.sample import sample
from processors.avro.codec import Codec, Located
from processors.clean.calibrating import Calibrated, Devices, calibrated
from processors.clean.judge import rewrite
from processors.clean.rules.rule import Change
from processors.clean.schemas import known_of
from processors.clean.writing import written

FIELDS: list[dict[str, Any]] = [
    {"name": "device_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "ax", "type": "double"},
    {"name": "ay", "type": ["null", "double"], "default": None},
    {"name": "single", "type": ["null", "float"], "default": None},
    {"name": "text", "type": ["null", "string"], "default": None},
    {"name": "n", "type": "long"},
    {"name": "wave", "type": ["null", {"type": "array", "items": "float"}], "default": None, "max_items": 99},
    {"name": "_quality", "type": ["null", "string"], "default": None},
]
TOY = contract_of("toy", json.dumps({"type": "record", "name": "toy", "fields": FIELDS}))
KNOWN = known_of(7, TOY.text)
DAY = datetime(2026, 1, 31, tzinfo=UTC)
BASE: dict[str, Any] = {
    "device_id": "d", "event_time": 0, "ax": 3.0, "ay": 5.0, "single": 1.5, "text": None, "n": 9, "wave": None,
    "_quality": None,
}  # fmt: skip
TABLE = """device_id,valid_from,field,offset,gain,ax,ay,note
d,2026-01-31,ax,0.5,,1,0.25,DAkkS 4711
d,2026-01-31,ay,-1,,0,2,DAkkS 4711
d,2026-01-30,ax,,3,,,
d,2026-02-02 12:00,ax,,,,,taken off
d,2026-01-31,single,0.5,2,,,
d,2026-01-31,wave,,10,,,
"""


def micros(days: float) -> int:
    return (DAY + timedelta(days=days) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def of(text: str, rows: Sequence[dict[str, Any]]) -> tuple[Calibrated, str]:
    made = Calibration(parse(text, "toy.csv"))
    out = calibrated(made, Devices(made), KNOWN, [KNOWN.codec.write(7, BASE | row) for row in rows])
    return out, made.table.digest[:8]


def read_back(out: Calibrated) -> list[dict[str, Any]]:
    return [KNOWN.codec.read(value) if value is not None else {} for value in out.values]


def test_a_row_is_made_by_the_newest_line_of_its_device_that_is_not_later_than_it() -> None:
    days = [-2, -1, -0.5, 0, 1, 2.4, 2.5]
    out, version = of(
        TABLE, [{"event_time": micros(day)} for day in days] + [{"device_id": "e", "event_time": micros(1)}]
    )
    rows = read_back(out)
    gain, matrix = 9.0, 1 * (3 - 0.5) + 0.25 * (5 + 1)
    assert [r.get("ax") for r in rows] == [None, gain, gain, matrix, matrix, matrix, 3.0, None]
    assert [r.get("ay") for r in rows] == [None, 5.0, 5.0, 12.0, 12.0, 12.0, 12.0, None]
    assert rows[3]["single"] == 2.0
    both = f"ax:calibration:{version};ay:calibration:{version};single:calibration:{version}"
    assert [r.get("_quality") for r in rows[1:5]] == [f"ax:calibration:{version}"] * 2 + [both] * 2
    assert rows[6]["_quality"] == both.partition(";")[2]
    assert out.frame["ax"].to_list() == [3.0, gain, gain, matrix, matrix, matrix, 3.0, 3.0]


def test_what_a_matrix_cant_be_applied_to_stays_and_is_noted_and_what_does_not_fit_is_refused() -> None:
    at = {"event_time": micros(0)}
    out, version = of(TABLE, [
        at | {"ay": None, "single": None, "_quality": "ay:sentinel:null"},
        at | {"ax": math.inf, "single": None},
        at | {"single": 3e38},
        at | {"wave": [1.0, 2.5], "single": None},
        at | {"wave": [1.0, math.nan], "single": None, "ay": None},
        at | {"wave": [], "single": None},
        at | {"wave": [1.0, 1e38], "single": None},
    ])  # fmt: skip
    rows = read_back(out)
    assert (rows[0]["ax"], rows[0]["_quality"]) == (3.0, "ay:sentinel:null;ax:calibration:incomplete")
    assert (rows[1]["ay"], rows[1]["_quality"]) == (5.0, "ax:calibration:incomplete;ay:calibration:incomplete")
    assert set(out.failures) == {2, 6}
    assert out.failures[2].message.startswith("single = 3e+38 becomes too large")
    assert (rows[3]["wave"], rows[3]["_quality"].split(";")[2]) == ([10.0, 25.0], f"wave:calibration:{version}")
    assert rows[4]["_quality"] == "ax:calibration:incomplete;wave:calibration:incomplete"
    assert "wave" not in rows[5]["_quality"]


NUMBERS = st.floats(-1e3, 1e3) | st.sampled_from([0.0, -0.0, 1e308, math.inf, math.nan])
ROWS = st.lists(
    st.fixed_dictionaries({
        "device_id": st.sampled_from(["d", "e", "é" * 70, ""]),
        "event_time": st.sampled_from([micros(day) for day in (-1, 0, 0.5, 1, 9)]),
        "ax": NUMBERS,
        "ay": st.none() | NUMBERS,
        "single": st.none() | st.floats(width=32),
        "text": st.none() | st.text(max_size=3),
        "n": st.integers(-(2**40), 2**40),
        "wave": st.none() | st.lists(st.floats(-1e3, 1e3, width=32), max_size=70),
        "_quality": st.sampled_from([None, "", "ax:maximum:flag"]),
    }),
    max_size=9,
)  # fmt: skip
FACTORS = st.sampled_from(["0", "1", "-0.5", "1.01", "3e300"])
LINES = st.lists(
    st.tuples(st.sampled_from(["d", "e", "f"]), st.sampled_from([0, 1]), st.lists(FACTORS, min_size=9, max_size=9)),
    max_size=5,
    unique_by=lambda it: it[:2],
)


def table_of(lines: list[tuple[str, int, list[str]]]) -> str:
    """A table with a matrix of ax and ay where it is no singular one, and gains beside it."""
    out = ["device_id,valid_from,field,offset,gain,ax,ay"]
    for device, day, (a, b, c, d, one, two, gain, _, _) in lines:
        since = f"{DAY + timedelta(days=day):%Y-%m-%dT%H:%M:%SZ}"
        matrix = [f"{device},{since},ax,{one},,{a},{b}", f"{device},{since},ay,{two},,{c},{d}"]
        try:
            parse("\n".join([out[0], *matrix]), "x")
            out += matrix
        except ConfigError:
            out.append(f"{device},{since},ax,{one},{gain if gain != '0' else ''},,")
        out += [f"{device},{since},{name},{two},{gain if gain != '0' else ''},," for name in ("single", "wave")]
    return "\n".join(out)


def expected(table: Table, row: dict[str, Any], name: str) -> tuple[Any, str]:
    """A field's value and note, worked out for one row by the words of the docs."""
    mine = [
        e for e in table.entries if (e.device, e.field) == (row["device_id"], name) and e.since <= row["event_time"]
    ]
    value = row[name]
    if not mine or value is None or value == []:
        return value, ""
    entry = max(mine, key=lambda e: e.since)
    if entry.ends:
        return value, ""
    single = name in {"single", "wave"}
    sums = []
    for k in range(len(value) if name == "wave" else 1):
        inputs = [row[i][k] if name == "wave" else row[i] for i in entry.inputs]
        if any(v is None or not math.isfinite(v) for v in inputs):
            return value, f"{name}:calibration:incomplete"
        made = 0.0
        for i, (v, factor, offset) in enumerate(zip(inputs, entry.factors, entry.offsets, strict=True)):
            term = factor * (v - offset)
            made = made + term if i else term
        with np.errstate(over="ignore"):
            sums.append(float(np.float32(made)) if single else made)
    if not all(map(math.isfinite, sums)):
        return None, "failed"
    return (sums if name == "wave" else sums[0]), f"{name}:calibration:{table.digest[:8]}"


@settings(max_examples=40)
@given(LINES, ROWS)
def test_a_rows_bytes_are_those_worked_out_alone_whatever_its_batch(
    lines: list[tuple[str, int, list[str]]], rows: list[dict[str, Any]]
) -> None:
    text = table_of(lines)
    out, _ = of(text, rows)
    table = parse(text, "toy.csv")
    for i, row in enumerate(rows):
        found = {name: expected(table, row, name) for name in dict.fromkeys(e.field for e in table.entries)}
        assert (i in out.failures) == any(note == "failed" for _, note in found.values())
        alone, _ = of(text, [row])
        notes = ";".join(note for _, note in found.values() if note)
        if i in out.failures:
            assert out.failures[i] == alone.failures[0]
        elif notes:
            made = row | {name: value for name, (value, _) in found.items()}
            made["_quality"] = ";".join(filter(None, [row["_quality"], notes]))
            assert out.values[i] == alone.values[0] == KNOWN.codec.write(7, made)
        else:
            assert out.values[i] is alone.values[0] is None


@settings(max_examples=20)
@given(LINES, ROWS)
def test_a_row_that_is_read_by_itself_comes_out_with_the_same_bytes(
    lines: list[tuple[str, int, list[str]]], rows: list[dict[str, Any]]
) -> None:
    text = table_of(lines)
    one, _ = of(text, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Codec, "locate", lambda *_: None)
        other, _ = of(text, rows)
    good = [i for i in range(len(rows)) if i not in one.failures]
    assert [one.values[i] for i in good] == [other.values[i] for i in good]
    assert one.failures == other.failures


def test_messages_that_cant_be_read_in_columns_are_not_located() -> None:
    good = KNOWN.codec.write(7, BASE)
    assert isinstance(KNOWN.codec.locate([good], {"ax"}), Located)
    assert KNOWN.codec.locate([good, good + b"\0"], {"ax"}) is None


HEAD = "device_id,valid_from,field,offset,gain,ax,ay\n"
REFUSED = [
    ("", "line 1: no column device_id and no column valid_from and no column field. Begin the file with"),
    ("device_id;valid_from;field\n", "line 1: the columns are not separated by commas"),
    ("device_id,valid_from,field,gain,gain\n", "line 1: gain is there twice"),
    ("device_id,valid_from,field,\n", "line 1: a column has no name"),
    (HEAD + "d,2026-01-31,ax,1,02,,,\n", "line 2: 8 cells, and the first line names 7 columns"),
    (HEAD + "\nd,31.01.2026,ax,,,,\n", "line 3: valid_from = '31.01.2026' is not a date. Write it as 2026-01-31"),
    (HEAD + "d,2026-01-31,ax,none,,,\n", "line 2: offset = 'none' is not a number"),
    (HEAD + "d,2026-01-31,ax,,nan,,\n", "line 2: gain = 'nan' is not a number"),
    (HEAD + "d,2026-01-31,ax,,1_02,,\n", "line 2: gain = '1_02' is not a number"),
    (HEAD + "d,2026-01-31,ax,,0,,\n", "line 2: gain = 0: every value"),
    (HEAD + "d,2026-01-31,ax,,,0,\n", "line 2: gain = 0: every value"),
    (HEAD + ",2026-01-31,ax,,,,\n", "line 2: device_id is empty"),
    (HEAD + "d,2026-01-31,,,,,\n", "line 2: field is empty"),
    (HEAD + "d,2026-01-31,ax,,2,1,0\n", "line 2: both gain and ax, ay"),
    (HEAD + "d,2026-01-31,ax,,,,1\n", "line 2: no factor of ax itself"),
    (HEAD + "d,2026-01-31,ax,,,1,0\n", "line 2: the matrix of ax, ay is not complete: ay needs a line"),
    (HEAD + "d,2026-01-31,ax,,,1,0\nd,2026-01-31,ay,,2,,\n", "line 2: the matrix of ax, ay is not complete: ay"),
    (HEAD + "d,2026-01-31,ax,,,1,2\nd,2026-01-31,ay,,,2,4\n", "line 2: the matrix is singular"),
    (HEAD + "d,2026-01-31,ax,,,1,0\nd,2026-01-31,ay,,,0,0\n", "line 2: the matrix is singular"),
    (HEAD + "d,2026-01-31,ax,,2,,\nd,2026-01-31T00:00:00Z,ax,,3,,\n", "line 3: line 2 has ax of d from that time on"),
    (HEAD + 'd,2026-01-31,"ax\n', "line 2: not CSV"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_a_table_that_cant_be_used_is_refused_with_line_and_remedy(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "toy.csv")
    assert str(caught.value).startswith(f"toy.csv, {words}")


def test_a_matrix_is_taken_that_is_far_from_singular_however_large_its_numbers() -> None:
    lines = "d,2026-01-31,ax,,,1e-6,2e-6\nd,2026-01-31,ay,,,3e9,-4e9\n"
    assert len(parse(HEAD + lines, "toy.csv").entries) == 2


def test_config_check_reads_the_table_and_compares_it_with_the_contract(tmp_path: Path) -> None:
    (tmp_path / "imu.csv").write_text(
        "device_id,valid_from,field,gain,samples,axis\n"
        "d,2026-01-31,zz,2,,\nd,2026-01-31,sequence,2,,\nd,2026-01-31,axis,,0,1\nd,2026-01-31,samples,,1,0\n"
    )
    path = tmp_path / "headrace.yaml"
    path.write_text(
        "streams:\n  vibration: {routes: ['v/{device_id}'], calibration: imu.csv}\n"
        "  imu: {routes: ['i/{device_id}'], calibration: none.csv}\n"
    )
    found = check.problems(load(path, {}))
    file, needs = f"streams.vibration.calibration: {tmp_path / 'imu.csv'}, line", "a calibrated value needs the type"
    assert [it.split(". ")[0] for it in found] == [
        f"{file} 2: field zz: the contract vibration has none",
        f"{file} 3: field sequence: it is long in the contract vibration, and {needs} double or float",
        f"{file} 4: field axis: it is string in the contract vibration, and {needs} double or float",
        f"{file} 5: field samples: it is a list, which takes an offset and a gain",
        f"streams.imu.calibration: {tmp_path / 'none.csv'}: no such file",
    ]


def test_a_byte_order_mark_and_windows_line_ends_are_taken(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n").encode())
    table = read(tmp_path / "t.csv")
    assert table.entries == parse(TABLE, "t.csv").entries
    assert table.digest == sha256((tmp_path / "t.csv").read_bytes()).hexdigest()[:16], "as sha256sum prints it"
    assert parse(table.text, "store").digest == table.digest, "what the store keeps is the same version"


def test_a_sensor_that_was_found_to_need_no_correction_is_a_calibrated_one() -> None:
    head = "device_id,valid_from,field,offset,gain\n"
    for numbers, noted in (("0,1", True), ("0,", True), (",1", True), (",", False)):
        out, version = of(f"{head}d,2026-01-31,ax,{numbers}\n", [{"event_time": micros(0)}])
        (row,) = read_back(out)
        assert row == (BASE | {"event_time": micros(0), "_quality": f"ax:calibration:{version}"} if noted else {})


def test_a_note_may_hold_what_splitlines_ends_a_line_at() -> None:
    text = "device_id,valid_from,field,gain,note\nd,2026-01-31,ax,2,page\x0cone\u2028two\x85three\nd,2026-02-01,ax,x,\n"
    with pytest.raises(ConfigError) as caught:
        parse(text, "toy.csv")
    assert str(caught.value) == "toy.csv, line 3: gain = 'x' is not a number. Write one such as 1.02"


def test_the_example_of_the_docs_runs_as_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).resolve().parents[2] / "docs" / "calibration.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"```(csv|yaml|sh)\n(.*?)```", page, re.DOTALL))
    (tmp_path / "calibration").mkdir()
    (tmp_path / "calibration" / "imu.csv").write_text(found["csv"])
    (tmp_path / "my.yaml").write_text(found["yaml"])
    config, commands = load(tmp_path / "my.yaml", {}), [line.split() for line in found["sh"].splitlines()]
    assert commands[0] == ["headrace", "config", "check", "my.yaml"]
    assert check.problems(config, [check.Service.CLEAN]) == []
    context.set_options(None, tmp_path / "my.yaml")
    assert commands[1][:3] == commands[2][:3] == ["headrace", "transform", "test"]
    done = CliRunner().invoke(app, [*commands[1][2:], "--json"])
    assert done.exit_code == 0, done.output
    found_json = json.loads(done.stdout)
    assert found_json["version"] == f"+{digest_of(found['csv'])}"
    assert {it["field"] for it in found_json["changes"]} == {"temperature", "ax", "ay", "az"}
    for it in found_json["changes"]:
        if it["field"] == "temperature":
            assert it["after"] == 1.002 * (it["before"] - 0.4)


def in_single(value: Any) -> Any:
    return None if value is None else np.array(value, np.float32).tolist()


def test_rows_in_lists_come_out_as_those_in_columns_do() -> None:
    made = Calibration(parse(TABLE, "toy.csv"))
    columns = sample(TOY, 200) | made.sample(200)
    columns |= {name: [in_single(v) for v in columns[name]] for name in ("single", "wave")}
    rows = [{name: values[i] for name, values in columns.items()} for i in range(200)]
    one = Making(made, None).run(KNOWN.fields, columns)
    out = calibrated(made, Devices(made), KNOWN, [KNOWN.codec.write(7, row | {"_quality": None}) for row in rows])
    assert one.failures == out.failures == {}
    for i, value in enumerate(out.values):
        now = KNOWN.codec.read(value) if value is not None else rows[i]
        assert {name for name in rows[i] if now[name] != rows[i][name]} == one.changes.get(i, {}).keys()
        assert all(now[name] == after for name, after in one.changes.get(i, {}).items())


def test_a_transform_has_the_calibrated_values() -> None:
    made = Calibration(parse(f"{HEAD}d,2026-01-31,ax,1,2,,\nd,2026-01-31,ay,,1e308,,\n", "toy.csv"))
    body = "assert (df.ax != 8).all()\n    df['n'] = df.ax.astype('int64')"
    code = Code(f"def transform(df):\n    {body}\n    return df\n", "toy.py")
    more: list[dict[str, Any]] = [{"ay": None}, {"ay": 9.0}, {"ax": 5.0, "ay": 1.0}, {"device_id": "e"}]
    rows = [BASE | {"event_time": micros(1)} | row for row in more]
    columns = {name: [row[name] for row in rows] for name in BASE if name != "_quality"}
    out = Making(made, Transform(code)).run(KNOWN.fields, columns)
    assert out.changes == {0: {"ax": 4.0, "n": 4}, 3: {"n": 3}}
    assert out.failures.keys() == {1, 2}


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "ax": st.floats(-1e3, 1e3), "ay": st.none() | st.floats(-1e3, 1e3),
    "single": st.none() | st.floats(-9, 9, width=32), "n": st.integers(0, 9), "text": st.none() | st.text(max_size=3),
}  # fmt: skip


@settings(max_examples=30)
@given(ROWS, st.data())
def test_changed_numbers_are_put_into_a_message_as_if_it_was_encoded_anew(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    values = [KNOWN.codec.write(7, BASE | row) for row in rows]
    changes = {i: data.draw(st.fixed_dictionaries({}, optional=VALUES)) for i in range(len(rows))}
    changes = {i: it for i, it in changes.items() if it}
    out, refused = written(values, changes, KNOWN, "transform:3f2a9c01")
    assert not refused
    assert out == {
        i: rewrite(values[i], [Change(f, v, f"{f}:transform:3f2a9c01") for f, v in it.items()], KNOWN)
        for i, it in changes.items()
    }
