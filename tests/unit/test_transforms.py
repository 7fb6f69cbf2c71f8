"""User transforms: what becomes of a row depends on the row alone, and one that fails takes no other with it."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from headrace.cli import context
from headrace.cli.transform import app
from headrace.config import check, load
from headrace.contracts.files import available, find
from headrace.contracts.model import Contract, parse
from headrace.errors import ConfigError
from headrace.transforms.code import Code, read
from headrace.transforms.run import Result, Transform
from headrace.transforms.sample import sample
from headrace.transforms.table import fields_of
from tests.profiles import examples

FIELDS: list[dict[str, Any]] = [
    {"name": "device_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "x", "type": ["null", "double"], "default": None},
    {"name": "y", "type": "double"},
    {"name": "single", "type": ["null", "float"], "default": None},
    {"name": "n", "type": ["null", "long"], "default": None},
    {"name": "small", "type": "int"},
    {"name": "on", "type": ["null", "boolean"], "default": None},
    {"name": "text", "type": ["null", "string"], "default": None},
    {"name": "mode", "type": {"type": "enum", "name": "mode", "symbols": ["A", "B"]}},
    {"name": "seen", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}], "default": None},
    {"name": "wave", "type": ["null", {"type": "array", "items": "double"}], "default": None, "max_items": 4},
    {"name": "raw", "type": ["null", "bytes"], "default": None},
    {"name": "seq", "type": "long"},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}},
    {
        "name": "place", "default": None,
        "type": ["null", {"type": "record", "name": "place", "fields": [{"name": "floor", "type": "int"}]}],
    },
    {"name": "_quality", "type": ["null", "string"], "default": None},
]  # fmt: skip
TOY = parse("toy", json.dumps({"type": "record", "name": "toy", "fields": FIELDS}))
BODY = "def transform(df):\n    "


def made(body: str) -> Transform:
    return Transform(Code(BODY + body + "\n    return df\n", "toy.py"))


def run(body: str, columns: dict[str, list[Any]]) -> Result:
    return made(body).run(fields_of(TOY), columns)


def rows_of(n: int, **columns: list[Any]) -> dict[str, list[Any]]:
    return sample(TOY, n) | columns


@pytest.mark.parametrize("contract", [TOY, *(find(name) for name in available())], ids=lambda c: c.name)
def test_a_transform_that_changes_nothing_leaves_every_row(contract: Contract) -> None:
    assert made("df = df[df.columns[::-1]]").run(fields_of(contract), sample(contract, 200)) == Result()


@examples(0.5)
@given(st.lists(st.integers(0, 30), max_size=40), st.integers(2, 9))
def test_whatever_rows_fail_the_others_come_out_as_they_would_alone(numbers: list[int], bad: int) -> None:
    """Against an oracle: each row by itself. And the calls are bounded."""
    columns = rows_of(len(numbers), small=numbers, y=[float(n) for n in numbers])
    body = f"calls.append(1); assert not (df.small % {bad} == 0).any(), 'bad'; df.loc[df.small > 9, 'y'] = -1.0"
    code = Code("calls = []\n" + BODY + body + "\n    return df\n", "toy.py")
    it = Transform(code)
    it._fitting = 1000  # as once it is known that rows take little time
    found = it.run(fields_of(TOY), columns)
    wrong = [i for i, n in enumerate(numbers) if n % bad == 0]
    assert sorted(found.failures) == wrong
    assert found.changes == {i: {"y": -1.0} for i, n in enumerate(numbers) if n > 9 and i not in wrong}
    assert {f.message for f in found.failures.values()} <= {"AssertionError: bad (line 3)"}
    calls, n = len(it._function.__globals__["calls"]), len(numbers)
    assert calls <= max(1, min(2 * n, 1 + 2 * len(wrong) * (1 + math.ceil(math.log2(max(n, 1))))))


@pytest.mark.parametrize(
    ("body", "row"),
    [
        ("df['y'] = df.y * 0 + 2", {"y": 2.0}),
        ("df['x'] = None", {"x": None}),
        ("df['x'] = float('nan')", {"x": None}),
        ("df['y'] = 3", {"y": 3.0}),
        ("df['single'] = 0.1", {"single": 0.10000000149011612}),
        ("df['n'] = df.n * 1.0", {}),
        ("df['n'] = 7.0", {"n": 7}),
        ("df['small'] = df.small.astype('Int64')", {}),
        ("df['on'] = ~df.on", {"on": False}),
        ("df['text'] = df.text.str.upper()", {"text": "ABC"}),
        ("df['mode'] = 'B'", {"mode": "B"}),
        ("df['seen'] = df.seen + __import__('pandas').Timedelta('1s')", {"seen": 6_000}),
        ("df['wave'] = [w * 2 for w in df.wave]", {"wave": [2.0, 4.0]}),
        ("df['wave'] = [list(w) for w in df.wave]", {}),
        ("df['raw'] = [b + b'!' for b in df.raw]", {"raw": b"b!"}),
    ],
)
def test_values_come_back_as_they_are_stored(body: str, row: dict[str, Any]) -> None:
    assert run(body, ONE) == Result({0: row} if row else {})


ONE: dict[str, list[Any]] = {
    "device_id": ["d"], "event_time": [1], "x": [1.5], "y": [2.5], "single": [0.5], "n": [5], "small": [5],
    "on": [True], "text": ["abc"], "mode": ["A"], "seen": [5_000], "wave": [[1.0, 2.0]], "raw": [b"b"],
    "seq": [5], "price": [None], "place": [{"floor": 1}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("df['y'] = None", "y: it has no value, and the field must have one"),
        ("df['y'] = df.y / 0", "y: inf is not finite"),
        ("df['y'] = 'high'", "y: 'high' is no number"),
        ("df['small'] = 2.5", "small: 2.5 is no whole number"),
        ("df['small'] = 2**31", "beyond the whole numbers of 32 bits"),
        ("df['mode'] = 'C'", "mode: 'C' is none of A, B"),
        ("df['seen'] = df.seen.dt.tz_localize(None)", "names no zone"),
        ("df['seen'] = 5", "seen: 5 is no time"),
        ("df['wave'] = [[1.0] * 5]", "wave: it has 5 items, and the contract allows 4"),
        ("df['wave'] = 3.0", "wave: 3.0 is no list"),
        ("df.wave.iloc[0][0] = 9", "read-only"),
        ("df['text'] = 5", "text: 5 is not of the contract's type string"),
        ("df['text'] = '\\ud800'", "surrogates not allowed"),
        ("df['device_id'] = 'e'", "device_id: it was changed to e: it says whose row it is"),
        ("df['event_time'] = df.seen", "event_time: it was changed"),
        ("df['place'] = [{'floor': 2}]", "a record can be read by a transform, and not changed"),
        ("df.place.iloc[0]['floor'] = 2", "a record can be read by a transform, and not changed"),
        ("df['new'] = 1", "it added new"),
        ("del df['y']", "it left out, or doubled, y"),
        ("df = df[df.y > 9]", "it made 0 rows of 1"),
        ("df = __import__('pandas').concat([df, df])", "it made 2 rows of 1"),
        ("df.index = df.index + 1", "it changed the index"),
        ("return None", "it returned nothing: end it with `return df`"),
        ("return df.y", "what it returned is no DataFrame"),
        ("df.nothing", "AttributeError: 'DataFrame' object has no attribute 'nothing' (line 2)"),
        ("raise SystemExit(3)", "SystemExit: 3 (line 2)"),
        ("raise type('PanicException', (BaseException,), {})('a panic')", "PanicException: a panic (line 2)"),
        ("df['seq'] = df.seq * 2.0**60", "seq: whole numbers came back as floats"),
        ("df['mode'] = [__import__('numpy').array([1, 2])]", "mode: array([1, 2]) is not of the contract's type enum"),
        (
            "df['place'] = [__import__('numpy').array([1, 2])]",
            "place: array([1, 2]) is not of the contract's type record",
        ),
    ],
)
def test_a_row_that_can_not_be_is_refused_with_what_to_do(body: str, message: str) -> None:
    found = run(body, ONE)
    assert message in found.failures[0].message
    assert not found.changes


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_and_was_not_touched_stays(odd: float) -> None:
    """A rule may flag such values and let them pass."""
    columns = rows_of(2, x=[odd, 1.0], y=[odd, 1.0], single=[odd, 1.0], wave=[[odd, 1.0], [2.0]], small=[1, 2])
    body = "df.loc[df.small == 2, ['x', 'y', 'single']] = 5.0; df['wave'] = [w * (3 - len(w)) for w in df.wave]"
    assert run(body, columns) == Result({1: {"x": 5.0, "y": 5.0, "single": 5.0, "wave": [4.0]}})


@pytest.mark.parametrize("guard", ["df.seq.where(df.small > 0)", "df.seq.where(df.small > 0, 0.5)"])
def test_a_large_whole_number_keeps_its_digits_whatever_it_shares_a_batch_with(guard: str) -> None:
    """Pandas makes floats of the whole column for one value that is missing, or no whole number."""
    columns = rows_of(4, seq=[2**60 + 1, 7, 2**53 + 1, 2**60 + 1], small=[1, 0, 1, 1])
    found = run(f"df['seq'] = {guard}", columns)
    assert (found.changes, list(found.failures)) == ({}, [1])


@pytest.mark.parametrize(
    "body",
    [
        "df['y'] -= df.y.mean()", "df['x'] = df.y.diff()", "df['x'] = df.y.shift(1)", "df['y'] = df.y.cumsum()",
        "df['x'] = df.x.ffill()", "df['y'] = __import__('random').random()", "df['small'] = range(len(df))",
        "df['y'] = __import__('time').perf_counter()", "assert len(df) < 3; df['y'] += len(df)",
    ],
)  # fmt: skip
def test_what_depends_on_the_rows_beside_it_is_found(body: str) -> None:
    with pytest.raises(ConfigError, match="not row-wise"):
        made(body).check(fields_of(TOY), sample(TOY, 50))


@pytest.mark.parametrize("body", ["df['y'] *= 2", "assert (df.y > 0).all()", "df.loc[df.x > 5, 'x'] = None"])
def test_what_depends_on_the_row_alone_passes(body: str) -> None:
    for n in (1, 2, 50):
        made(body).check(fields_of(TOY), sample(TOY, n))


def test_the_last_digits_of_a_sum_over_columns_may_depend_on_the_number_of_rows() -> None:
    """NumPy adds in another order then."""
    more = [{"name": f"c{i}", "type": kind} for i in range(24) for kind in ["float" if i % 4 == 3 else "double"]]
    wide = parse("wide", json.dumps({"type": "record", "name": "wide", "fields": [*FIELDS[:-1], *more, FIELDS[-1]]}))
    body = "c = [f'c{i}' for i in range(24) if i % 4 == 3]; d = [f'c{i}' for i in range(24) if i % 4 < 3]\n    "
    for what in (
        "df['y'] = df[d].mean(axis=1)",
        "df['x'] = df[c].mean(axis=1)",
        "df['wave'] = [[v] for v in df[d].sum(axis=1)]",
    ):
        made(body + what).check(fields_of(wide), sample(wide, 200))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def transform(df) return df", "toy.py, line 1: not Python"),
        ("import nowhere_to_be_found", "nowhere_to_be_found.* [(]line 1[)]. Install that package"),
        ("x = 1 / 0", "ZeroDivisionError: division by zero [(]line 1[)]"),
        ("def other(df): return df", "defines no function `transform`"),
        ("transform = 3", "defines no function `transform`"),
        ("exit(4)", "can't be loaded"),
    ],
)
def test_a_text_that_is_no_transform_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Transform(Code(text, "toy.py"))


def test_an_entry_point_is_the_function_of_an_installed_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plant_transforms.py").write_text("def pump(df):\n    df['y'] += 1\n    return df\n")
    monkeypatch.syspath_prepend(tmp_path)
    it = Transform(read("plant_transforms:pump"))
    assert it.run(fields_of(TOY), ONE).changes == {0: {"y": 3.5}}
    with pytest.raises(ConfigError, match="no Python module nowhere_at_all is installed"):
        read("nowhere_at_all:pump")
    with pytest.raises(ConfigError, match=r"no such file\. Write it: def transform"):
        read(tmp_path / "none.py")


def test_the_version_is_that_of_the_text() -> None:
    assert Code("a", "one.py").digest == Code("a", "two.py").digest != Code("b", "one.py").digest


@pytest.fixture
def tried(tmp_path: Path) -> Callable[..., Any]:
    config = tmp_path / "headrace.yaml"
    config.write_text('streams: {imu: {routes: ["sensors/{device_id}/imu"]}}')

    def call(text: str, *more: str) -> Any:
        (tmp_path / "imu.py").write_text(text)
        context.set_options(None, config)
        args = ["test", str(tmp_path / "imu.py"), "--stream", "imu", "--rows", "60", *more]
        return CliRunner().invoke(app, args)

    return call


def test_the_command_shows_before_and_after(tried: Callable[..., Any]) -> None:
    done = tried("def transform(df):\n    df['ax'] = df.ax + 1\n    return df\n")
    assert done.exit_code == 0, done.output
    assert "before" in done.stdout
    assert "60 rows: 60 changed, 0 failed, 0 as they were" in done.stderr
    assert "it is row-wise" in done.stderr


def test_the_command_says_which_rows_fail_and_why(tried: Callable[..., Any]) -> None:
    done = tried(
        "def transform(df):\n    df['ax'] = [1 / (int(s) % 3) for s in df.sequence.fillna(1)]\n    return df\n"
    )
    assert done.exit_code == 1
    assert "ZeroDivisionError" in done.stderr
    assert "guard the division" in done.stderr
    as_json = json.loads(tried("def transform(df):\n    df['ax'] = df.axx\n    return df\n", "--json").stdout)
    assert (as_json["failed"], as_json["changed"], as_json["row_wise"]) == (60, 0, True)


def test_the_example_of_the_docs_runs_as_they_say(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "transforms.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (config,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    commands = [
        line.split() for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()
    ]
    (tmp_path / "transforms").mkdir()
    (tmp_path / "transforms" / "room.py").write_text(text)
    (tmp_path / "my.yaml").write_text(config)
    assert check.problems(load(tmp_path / "my.yaml", {}), [check.Service.CLEAN]) == []
    context.set_options(None, tmp_path / "my.yaml")
    assert commands[0][:3] == commands[1][:3] == ["headrace", "transform", "test"]
    done = CliRunner().invoke(app, ["test", str(tmp_path / commands[0][3]), *commands[0][4:]])
    assert done.exit_code == 0, done.output
    assert {"humidity", "temperature"} <= set(done.stdout.split())
    moved = load(tmp_path / "my.yaml", {"HEADRACE_STREAMS__ENVIRONMENT__TRANSFORM": "plant.room:transform"})
    assert check.problems(moved, [check.Service.CLEAN]) == []
    (tmp_path / "transforms" / "room.py").unlink()
    assert "no such file" in check.problems(load(tmp_path / "my.yaml", {}), [check.Service.CLEAN])[0]
