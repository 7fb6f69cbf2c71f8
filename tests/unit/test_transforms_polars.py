"""Transforms that are written for polars: the same rules, the same answers."""

import pytest

from headrace.contracts.files import available, find
from headrace.contracts.model import Contract
from headrace.errors import ConfigError
from headrace.transforms.code import Code
from headrace.transforms.run import Result, Transform
from headrace.transforms.sample import sample
from headrace.transforms.table import fields_of
from tests.unit.test_transforms import TOY, rows_of

HEAD = "import polars as pl\n\ndef transform(df: pl.DataFrame) -> pl.DataFrame:\n    "


def made(body: str, head: str = HEAD) -> Transform:
    return Transform(Code(head + body + "\n    return df\n", "toy.py"))


def run(body: str, columns: dict[str, list[object]]) -> Result:
    return made(body).run(fields_of(TOY), columns)


@pytest.mark.parametrize("contract", [TOY, *(find(name) for name in available())], ids=lambda c: c.name)
def test_a_transform_that_changes_nothing_leaves_every_row(contract: Contract) -> None:
    assert made("df = df.select(reversed(df.columns))").run(fields_of(contract), sample(contract, 200)) == Result()


@pytest.mark.parametrize("annotation", ["pl.DataFrame", "'pl.DataFrame'", "polars.DataFrame"])
def test_the_annotation_chooses_polars(annotation: str) -> None:
    head = f"import polars\nimport polars as pl\n\ndef transform(df: {annotation}):\n    "
    it = made("assert isinstance(df, pl.DataFrame)", head)
    assert it.run(fields_of(TOY), rows_of(3)) == Result()


def test_values_come_back_as_they_are_stored() -> None:
    columns = rows_of(3, y=[1.0, 2.0, 3.0], text=["a", None, "c"], wave=[[1.0, 2.0], None, []], small=[1, 2, 3])
    columns |= {"n": [2**60 + 1, None, 5], "x": [1.5, None, 2.5]}
    body = (
        "df = df.with_columns(pl.col('y') * 2, pl.col('n') + 1, pl.col('text').str.to_uppercase(), "
        "pl.col('wave').list.reverse(), pl.when(pl.col('small') < 3).then(pl.col('x')).alias('x'))"
    )
    found = run(body, columns)
    assert not found.failures
    assert found.changes == {
        0: {"y": 2.0, "n": 2**60 + 2, "text": "A", "wave": [2.0, 1.0]},
        1: {"y": 4.0},
        2: {"y": 6.0, "n": 6, "text": "C", "x": None},
    }


def test_a_column_without_any_value_has_its_type() -> None:
    columns = rows_of(2, wave=[None, None], text=[None, None])
    body = (
        "df = df.with_columns(y=pl.col('wave').list.sum().fill_null(7.0) + pl.col('text').str.len_chars().fill_null(1))"
    )
    assert run(body, columns).changes == {0: {"y": 8.0}, 1: {"y": 8.0}}


def test_rows_that_fail_stand_alone() -> None:
    body = "assert not (df['small'] == 3).any(), 'three'; df = df.with_columns(y=pl.lit(-1.0))"
    found = run(body, rows_of(8, small=list(range(8)), y=[0.0] * 8))
    assert list(found.failures) == [3]
    assert found.changes.keys() == {0, 1, 2, 4, 5, 6, 7}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("df = None", "it returned nothing"),
        ("df = df.head(0)", "it made 0 rows of 1"),
        ("df = df.with_columns(z=1)", "it added z"),
        ("df = df.drop('y')", "it left out, or doubled, y"),
        ("df = df.with_columns(small=pl.col('small') / 2)", "small: 0.5 is no whole number"),
        ("df = df.with_columns(seq=pl.lit(2.0**53))", "whole numbers came back as floats"),
        ("df = df.with_columns(y=pl.lit(float('inf')))", "not finite"),
        ("df = df.with_columns(device_id=pl.lit('x'))", "it says whose row it is"),
    ],
)
def test_what_it_may_not_do_is_said(body: str, words: str) -> None:
    found = run(body, rows_of(1, small=[1], seq=[1]))
    assert words in found.failures[0].message


def test_a_lazy_table_is_collected_and_neighbours_are_found_out() -> None:
    it = made("df = df.lazy().with_columns(pl.col('y') + 1).collect()")
    it.check(fields_of(TOY), rows_of(9))
    with pytest.raises(ConfigError, match="not row-wise"):
        made("df = df.with_columns(y=pl.col('y').mean() + pl.col('small'))").check(
            fields_of(TOY), rows_of(9, y=[float(i * i) for i in range(9)])
        )
