"""Transforms that make rows of another contract: which rows come of which reading, whatever it shares a batch with."""

import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.model import Contract, parse
from headrace.transforms.code import Code
from headrace.transforms.derive import MAX_ROWS, Derived, derive
from headrace.transforms.run import Transform
from headrace.transforms.sample import sample
from headrace.transforms.table import fields_of
from tests.profiles import examples
from tests.unit.test_transforms import TOY

OPTIONAL: list[dict[str, Any]] = [
    {"name": "value", "type": ["null", "double"], "default": None},
    {"name": "thin", "type": ["null", "float"], "default": None},
    {"name": "count", "type": ["null", "long"], "default": None},
    {"name": "label", "type": ["null", "string"], "default": None},
    {"name": "good", "type": ["null", "boolean"], "default": None},
    {"name": "peaks", "type": ["null", {"type": "array", "items": "double"}], "default": None, "max_items": 4},
    {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}], "default": None},
]
NEEDED = {"name": "need", "type": "double"}
STATE = {"name": "state", "type": {"type": "enum", "name": "state", "symbols": ["A", "B"]}}
PLACE = {
    "name": "place", "default": None,
    "type": ["null", {"type": "record", "name": "place", "fields": [{"name": "floor", "type": "int"}]}],
}  # fmt: skip
PRICE = {
    "name": "price", "default": None,
    "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}],
}  # fmt: skip
NONE: dict[str, Any] = {str(f["name"]): None for f in OPTIONAL}
T = 1_800_000_000_000_000
PANDAS = "import pandas as pd\nimport numpy as np\n\ndef transform(df):\n    "
POLARS = "import polars as pl\n\ndef transform(df: pl.DataFrame):\n    "


def contract(*more: dict[str, Any], name: str = "made") -> Contract:
    head = [
        {"name": "device_id", "type": "string"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ]
    last = {"name": "_quality", "type": ["null", "string"], "default": None}
    return parse(name, json.dumps({"type": "record", "name": name, "fields": [*head, *more, last]}))


MADE = contract(*OPTIONAL)


def code(body: str) -> Transform:
    return Transform(Code((POLARS if "pl." in body or "_row" in body else PANDAS) + body + "\n", "toy.py"))


def readings(n: int, **columns: list[Any]) -> dict[str, list[Any]]:
    """n readings of TOY; x is 0, 1, 2, ..."""
    return sample(TOY, n) | {"x": [float(i) for i in range(n)], "event_time": [T + i for i in range(n)]} | columns


def run(body: str, columns: dict[str, list[Any]], made: Contract = MADE, given: Contract = TOY) -> Derived:
    return derive(code(body), fields_of(given), fields_of(made), columns)


def values(found: Derived, name: str = "value") -> dict[int, list[Any]]:
    assert not found.failures
    return {reading: [row[name] for row in rows] for reading, rows in sorted(found.rows.items())}


WAVES: list[Any] = [[1.0, 2.0], [], None, [3.0]]


@pytest.mark.parametrize(
    ("body", "made"),
    [
        ("return df[['x']].rename(columns={'x': 'value'})", {0: [0.0], 1: [1.0], 2: [2.0], 3: [3.0]}),
        ("return df.loc[df.x > 1, ['x']].rename(columns={'x': 'value'})", {2: [2.0], 3: [3.0]}),
        ("return df.query('x > 7')", {}),
        ("return pd.DataFrame()", {}),
        (
            "df = df[['wave']].rename(columns={'wave': 'value'}).explode('value'); return df[df.value.notna()]",
            {0: [1.0, 2.0], 3: [3.0]},
        ),
        (
            "a = df.assign(value=df.x); b = df[df.x % 2 == 0].assign(value=-df.x); return pd.concat([b, a])",
            {0: [0.0, 0.0], 1: [1.0], 2: [-2.0, 2.0], 3: [3.0]},
        ),
        ("return df[::-1].assign(value=df.x)", {0: [0.0], 1: [1.0], 2: [2.0], 3: [3.0]}),
        (
            "df = pd.concat([df, df]); return df.groupby(level=0)[['x']].sum().rename(columns={'x': 'value'})",
            {0: [0.0], 1: [2.0], 2: [4.0], 3: [6.0]},
        ),
        ("return df.loc[df.index.repeat(2)].assign(value=1)", {i: [1.0, 1.0] for i in range(4)}),
        ("return df.select('_row', value='x')", {0: [0.0], 1: [1.0], 2: [2.0], 3: [3.0]}),
        ("return df.filter(pl.col('x') > 1).select('_row', value='x')", {2: [2.0], 3: [3.0]}),
        (
            "df = df.select('_row', value='wave').explode('value'); return df.filter(pl.col('value').is_not_null())",
            {0: [1.0, 2.0], 3: [3.0]},
        ),
        (
            "a = df.select('_row', value='x'); return pl.concat([a, a.filter(pl.col('value') > 2)])",
            {0: [0.0], 1: [1.0], 2: [2.0], 3: [3.0, 3.0]},
        ),
        (
            "return df.lazy().group_by('_row').agg(value=pl.col('x').sum())",
            {0: [0.0], 1: [1.0], 2: [2.0], 3: [3.0]},
        ),
    ],
)
def test_a_reading_makes_any_number_of_rows_in_its_place(body: str, made: dict[int, list[float]]) -> None:
    found = run(body, readings(4, wave=WAVES))
    assert values(found) == made
    for reading, rows in found.rows.items():
        about = {"device_id": sample(TOY, 4)["device_id"][reading], "event_time": T + reading}
        assert all(row == NONE | about | {"value": row["value"]} for row in rows)


def test_the_time_is_that_of_the_reading() -> None:
    columns: dict[str, list[Any]] = {"device_id": ["d", "d"], "event_time": [T, -1]}
    bodies = ["return df[[]]", "return df", "return df.assign(event_time=pd.NaT)", "return df.select('_row')"]
    for body in [*bodies, "return df.select('_row', 'event_time')"]:
        assert values(run(body, columns, MADE, contract(name="given")), "event_time") == {0: [T], 1: [-1]}, body


@pytest.mark.parametrize("years", [8, 264, 2000, 100_000])
def test_a_time_that_pandas_can_not_show_or_polars_not_hold_takes_no_batch_with_it(years: int) -> None:
    far = T + years * 365 * 86_400_000_000
    columns = readings(2, event_time=[T, far])
    for body in ("return df[['x']]", "return df[['event_time']]", "return df.select('_row')"):
        assert values(run(body, columns), "event_time") == {0: [T], 1: [far]}, body
    found = run("return df.select('_row', 'event_time')", columns)
    assert found.rows[0][0]["event_time"] == T
    assert (1 in found.failures) == (years > 7000)
    wrong = run("return df.assign(value=df.event_time)", columns)
    assert sorted(wrong.failures) == [0, 1]


def test_a_row_may_have_a_time_of_its_own_and_the_device_that_it_has_anyway() -> None:
    body = (
        "df = df.loc[df.index.repeat(2), ['device_id', 'event_time']]; "
        "df['event_time'] += pd.to_timedelta(df.groupby(level=0).cumcount(), unit='s'); return df"
    )
    assert values(run(body, readings(2)), "event_time") == {0: [T, T + 10**6], 1: [T + 1, T + 1 + 10**6]}


@pytest.mark.parametrize(
    ("body", "row"),
    [
        ("return df.assign(value=3)[['value']]", {"value": 3.0}),
        ("return df.assign(value=np.float32(0.5))[['value']]", {"value": 0.5}),
        ("return df.assign(value=float('nan'))[['value']]", {}),
        ("return df.assign(value=None)[['value']]", {}),
        ("return df.assign(value=pd.NA)[['value']]", {}),
        ("return df.assign(thin=0.1)", {"thin": 0.10000000149011612}),
        ("return df.assign(count=7.0)", {"count": 7}),
        ("return df.assign(count=np.int8(7))", {"count": 7}),
        ("return df.assign(count=2**62 + 1)", {"count": 2**62 + 1}),
        ("return df.assign(label='é')", {"label": "é"}),
        ("return df.assign(good=df.x > -1)", {"good": True}),
        ("return df.assign(good=np.bool_(False))", {"good": False}),
        ("return df.assign(peaks=[[1, 2.5]])", {"peaks": [1.0, 2.5]}),
        ("return df.assign(peaks=[np.array([1.0])])", {"peaks": [1.0]}),
        ("return df.assign(peaks=[[]])", {"peaks": []}),
        ("return df.assign(at=df.event_time)", {"at": T // 1000}),
        ("return df.assign(at=pd.Timestamp('2026-01-01 01:00', tz='Europe/Berlin'))", {"at": 1_767_225_600_000}),
        ("return df.select('_row', good=pl.lit(True), label=pl.lit('a'))", {"good": True, "label": "a"}),
        ("return df.select('_row', peaks=pl.concat_list('x', 'x'))", {"peaks": [0.0, 0.0]}),
        ("return df.select('_row', count=pl.lit(5, pl.UInt8), at='event_time')", {"count": 5, "at": T // 1000}),
        ("return df.select('_row', value=pl.lit(None))", {}),
        ("return df.select('_row', thin=pl.col('x') + 0.1)", {"thin": 0.10000000149011612}),
    ],
)
def test_values_are_as_they_are_stored(body: str, row: dict[str, Any]) -> None:
    found = run(body, readings(1))
    about = {"device_id": "device-1", "event_time": T}
    assert (found.rows, found.failures) == ({0: [NONE | about | row]}, {})
    (made,) = found.rows[0]
    assert {k: type(v) for k, v in made.items() if k in row} == {k: type(v) for k, v in row.items()}


def test_a_field_of_both_contracts_comes_from_the_reading_if_the_function_leaves_it_in_the_table() -> None:
    made = contract(NEEDED, {"name": "x", "type": "double"})
    assert values(run("return df.assign(need=1)", readings(2), made), "x") == {0: [0.0], 1: [1.0]}
    found = run("return df.assign(need=1)[['need']]", readings(2), made)
    assert found.failures[1].message.startswith("x: it has no value, and the field must have one")


def test_enums_are_texts() -> None:
    made = contract(STATE)
    assert values(run("return df.assign(state='B')", readings(1), made), "state") == {0: ["B"]}
    assert values(
        run("return df.select('_row', state=pl.lit('A').cast(pl.Categorical))", readings(1), made), "state"
    ) == {0: ["A"]}
    found = run("return df.assign(state='C')", readings(1), made)
    assert (found.failures[0].message, found.failures[0].field) == ("state: 'C' is none of A, B", "state")


INDEX = "its rows don't say of which reading they are made: keep the index (of polars: the column _row)"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return df.reset_index()", INDEX),
        ("return df.reset_index(drop=True)", INDEX),
        ("return pd.concat([df, df], ignore_index=True)", INDEX),
        ("return df.groupby('device_id').apply(lambda it: it)", INDEX),
        ("return df.groupby('device_id')[['x']].sum()", INDEX),
        ("return df.set_index(['mode', 'text'])", INDEX),
        ("return df.set_index(df.index.astype(str))", INDEX),
        ("return df.set_index(df.index - 1)", INDEX),
        ("return df.set_index('event_time')", INDEX),
        ("return df.select(pl.col('x'))", INDEX),
        ("return df.with_columns(_row=None)", INDEX),
        ("return df.with_columns(pl.col('_row') + 1)", INDEX),
        ("return df.assign(other=1)", "it made the column other, which the stream's contract does not have"),
        ("return df.assign(_quality='x')", "it made the column _quality, which the stream's contract does not have"),
        ("df[('a', 'b')] = 1; return df", "it made the column ('a', 'b'), which"),
        ("return pd.concat([df.x, df.x], axis=1).set_axis(['value', 'value'], axis=1)", "two columns of one name"),
        ("return df.assign(value=np.inf)", "value: inf is not finite: guard the division"),
        ("return df.select('_row', value=pl.lit(1.0) / 0)", "value: inf is not finite"),
        ("return df.assign(value='high')", "value: 'high' is no number"),
        ("return df.assign(value=df.text)", "value: 'abc' is no number"),
        ("return df.assign(count=2.5)", "count: 2.5 is no whole number"),
        ("return df.assign(count=2.0**60)", "count: whole numbers came back as floats, and lose digits from 2**53 on"),
        ("return df.assign(count=2**63)", "beyond the whole numbers of 64 bits"),
        ("return df.assign(label=5)", "label: 5 is not of the contract's type string"),
        ("return df.assign(good=1)", "good: 1 is not of the contract's type boolean"),
        ("return df.assign(peaks=[[1.0] * 5])", "peaks: it has 5 items, and the contract allows 4"),
        ("return df.assign(peaks=[[1.0, None]])", "an item of the list has no value"),
        ("return df.assign(at=5)", "at: 5 is no time"),
        ("return df.assign(at=df.event_time.dt.tz_localize(None))", "names no zone"),
        ("return df.assign(at=np.datetime64(2**61, 's'))", "names no zone"),
        ("return df.assign(device_id='other')", "device_id: it says whose row it is, and must stay that of the"),
        ("return df.assign(device_id=1)", "device_id: 1 is not of the contract's type string"),
        ("return df.assign(event_time=1.5)", "event_time: 1.5 is no time"),
        ("return None", "it returned nothing: end it with `return df`"),
        ("return df.x", "what it returned is no DataFrame"),
        ("return df.select(pl.col('_row'))['_row']", "what it returned is no DataFrame"),
        ("return df.nothing", "AttributeError: 'DataFrame' object has no attribute 'nothing' (line 5)"),
        ("raise SystemExit(3)", "SystemExit: 3 (line 5)"),
        ("df.wave.iloc[0][0] = 9; return df", "read-only"),
    ],
)
def test_a_reading_whose_rows_can_not_be_fails_with_what_to_do(body: str, words: str) -> None:
    found = run(body, readings(1, text=["abc"], wave=[[1.0]]))
    assert words in found.failures[0].message
    assert not found.rows


@pytest.mark.parametrize("dunder", ["__repr__", "__str__", "__eq__", "__float__", "__len__"])
def test_a_value_whose_own_methods_raise_fails_its_reading_alone(dunder: str) -> None:
    odd = f"type('Odd', (), {{'{dunder}': lambda *_: 1 / 0}})()"
    body = f"return df.assign(value=pd.Series([{odd}, 1.0], index=df.index, dtype=object)[df.index])"
    body = f"return df.assign(value=[{odd} if x == 1 else x for x in df.x])"
    found = run(body, readings(3))
    assert list(found.failures) == [1]
    assert sorted(found.rows) == [0, 2]
    assert run(body.replace("value", "state"), readings(3), contract(STATE)).failures.keys() == {0, 1, 2}


@pytest.mark.parametrize(("field", "kind"), [(PLACE, "record"), (PRICE, "decimal")])
def test_records_and_decimals_can_not_be_made_and_are_null_if_left_out(field: dict[str, Any], kind: str) -> None:
    columns = sample(TOY, 40)
    name = str(field["name"])
    some = [i for i, v in enumerate(columns[name]) if v is not None]
    found = run("return df", columns, contract(field))
    assert sorted(found.failures) == some
    assert f"a {kind} can be read by a transform, and not made: leave the column out" in found.failures[some[0]].message
    assert values(run(f"return df.drop(columns='{name}')", columns, contract(field)), name) == {
        i: [None] for i in range(40)
    }


def test_one_row_that_is_wrong_fails_its_reading_as_a_whole() -> None:
    body = "df = df.loc[df.index.repeat(3)]; df['value'] = 1 / (df.x - 1) ; df.loc[df.x == 3, 'label'] = 'a'; return df"
    found = run(body, readings(4))
    assert (sorted(found.rows), list(found.failures)) == ([0, 2, 3], [1])
    assert all(len(rows) == 3 for rows in found.rows.values())


def test_a_field_that_must_have_a_value_gets_it_from_the_function() -> None:
    words = "need: it has no value, and the field must have one: make it optional in the contract, or fill it"
    for body in ("return df", "return df.assign(need=None)", "return df.assign(need=float('nan'))"):
        found = run(body, readings(1), contract(NEEDED))
        assert (found.failures[0].message, found.failures[0].value) == (words, "")
    assert values(run("return df.assign(need=2)", readings(1), contract(NEEDED)), "need") == {0: [2.0]}


def test_too_many_rows_of_one_reading_fail_it_and_no_other() -> None:
    body = f"return df.loc[df.index.repeat(np.where(df.x == 1, {MAX_ROWS + 1}, 2)), []]"
    found = run(body, readings(3))
    assert {i: len(rows) for i, rows in found.rows.items()} == {0: 2, 2: 2}
    assert found.failures[1].message == f"it made {MAX_ROWS + 1:,} rows of one reading, and {MAX_ROWS:,} are allowed"
    most = run(f"return df.loc[df.index.repeat({MAX_ROWS}), []]", readings(2))
    assert [len(rows) for rows in most.rows.values()] == [MAX_ROWS] * 2


def test_no_readings_make_no_rows_and_the_function_is_not_called() -> None:
    none: dict[str, list[Any]] = {name: [] for name in sample(TOY, 1)}
    assert run("raise ValueError", none) == Derived()


def test_what_the_function_does_to_its_table_does_not_reach_the_next_call() -> None:
    body = "df['x'] += 1; df.index = range(len(df)); return df.nothing if len(df) > 1 else None"
    assert all("returned nothing" in it.message for it in run(body, readings(4)).failures.values())


def oracle(x: int, wave: list[float] | None) -> list[tuple[float | None, str | None, int]] | str:
    """What the functions below make of a reading, in plain Python: (value, label, event_time), or why it fails."""
    if x % 7 == 3:
        return "ValueError: three"
    rows: list[tuple[float | None, str | None, int]] = [(v * 2, "wave", T + 1000 * x) for v in wave or []]
    if x % 3 == 0:
        rows.append((None, None, T + 1000 * x + 1))
    if x % 5 == 4:
        return "value: inf is not finite: guard the division, or set it to None where the field is optional"
    return rows


IN_PANDAS = code("""\
if (df.x % 7 == 3).any():
        raise ValueError("three")
    waves = df[["wave"]].explode("wave").rename(columns={"wave": "value"}).dropna()
    waves["value"] *= 2
    waves["label"] = "wave"
    more = df.loc[df.x % 3 == 0, ["device_id", "event_time"]]
    more["event_time"] += pd.Timedelta("1us")
    bad = df.loc[df.x % 5 == 4, ["x"]].rename(columns={"x": "value"}) / 0
    return pd.concat([part for part in (waves, more, bad) if len(part)] or [waves])""")
IN_POLARS = code("""\
if (df["x"] % 7 == 3).any():
        raise ValueError("three")
    waves = df.select("_row", value=pl.col("wave")).explode("value").drop_nulls()
    waves = waves.with_columns(pl.col("value") * 2, label=pl.lit("wave"))
    more = df.filter(pl.col("x") % 3 == 0).select("_row", "device_id", pl.col("event_time").dt.offset_by("1us"))
    bad = df.filter(pl.col("x") % 5 == 4).select("_row", value=pl.col("x") / 0)
    return pl.concat([part for part in (bad, more, waves) if len(part)] or [waves], how="diagonal")""")
WAVE = st.none() | st.lists(st.sampled_from([0.5, 1.5, -2.0]), max_size=3)


@pytest.mark.parametrize("function", [IN_PANDAS, IN_POLARS], ids=["pandas", "polars"])
@examples(0.6)
@given(st.lists(st.tuples(st.integers(1, 40), WAVE), max_size=24), st.lists(st.integers(0, 24), max_size=3))
def test_whatever_the_cuts_of_the_batch_a_reading_makes_the_same_rows(
    function: Transform, made_of: list[tuple[int, list[float] | None]], cuts: list[int]
) -> None:
    """Against an oracle, and readings that fail take no other with them."""
    n = len(made_of)
    ends = sorted({0, n, *(c for c in cuts if c <= n)})
    whole = readings(
        n,
        x=[float(x) for x, _ in made_of],
        event_time=[T + 1000 * x for x, _ in made_of],
        wave=[w for _, w in made_of],
    )
    for first, end in itertools.pairwise(ends):
        found = derive(
            function, fields_of(TOY), fields_of(MADE), {name: column[first:end] for name, column in whole.items()}
        )
        for place, (x, wave) in enumerate(made_of[first:end]):
            wanted = oracle(x, wave)
            if isinstance(wanted, str):
                assert found.failures[place].message.startswith(wanted)
                assert place not in found.rows
                continue
            assert place not in found.failures, found.failures[place]
            rows = [(r["value"], r["label"], r["event_time"]) for r in found.rows.get(place, [])]
            key = str if function is IN_PANDAS else repr
            assert rows == wanted if function is IN_PANDAS else sorted(rows, key=key) == sorted(wanted, key=key)
            assert all(r["device_id"] == whole["device_id"][first + place] for r in found.rows.get(place, []))


def test_the_calls_for_readings_that_fail_are_bounded() -> None:
    body = "calls.append(1); assert not (df.x == 77).any(); return df[[]]"
    it = Transform(Code("calls = []\n" + PANDAS + body + "\n", "toy.py"))
    found = derive(it, fields_of(TOY), fields_of(MADE), readings(256))
    assert (list(found.failures), len(found.rows)) == ([77], 255)
    assert len(it._function.__globals__["calls"]) <= 1 + 2 * math.ceil(math.log2(256))
