"""Functions of derived streams that look at more than the reading are found out."""

from typing import Any

import pytest

from headrace.contracts.model import Contract
from headrace.errors import ConfigError
from headrace.transforms.derive import check
from headrace.transforms.table import fields_of
from tests.unit.test_derive import MADE, code, readings
from tests.unit.test_transforms import TOY


def checked(body: str, columns: dict[str, list[Any]], made: Contract = MADE) -> None:
    check(code(body), fields_of(TOY), fields_of(made), columns)


@pytest.mark.parametrize(
    "body",
    [
        "return df.assign(value=df.x - df.x.mean())",
        "return df.assign(value=df.x.diff())",
        "return df.assign(value=df.x.shift(1).fillna(0.0))",
        "return df.assign(value=df.x.cumsum())",
        "return df.assign(count=range(len(df)))",
        "return df.drop_duplicates('device_id')",
        "return df.tail(1)",
        "return df.loc[df.index.repeat(len(df)), []]",
        "return df.assign(value=np.random.default_rng().random(len(df)))",
        "return df.assign(value=__import__('time').perf_counter())",
        "return df.set_index(df.index[::-1])",
        "return df.loc[df.index[::-1]].set_axis(df.index)[['x']].rename(columns={'x': 'value'})",
        "return df.groupby('device_id', as_index=False).head(2)",
        "return df.assign(peaks=[[x, float(len(df))] for x in df.x])",
        "return df.assign(label=str(len(df)))",
        "return df.assign(event_time=df.event_time.min())",
        "return df.select('_row', value=pl.col('x').mean() + pl.col('x'))",
        "return df.unique('device_id', keep='first', maintain_order=True).select('_row')",
    ],
)
def test_what_depends_on_the_readings_beside_it_is_found(body: str) -> None:
    with pytest.raises(ConfigError, match=r"toy\.py, version .*: it is not row-wise.*no mean, diff or shift"):
        checked(body, readings(60))


@pytest.mark.parametrize(
    "body",
    [
        "return df.assign(value=df.x * 2)",
        "return df.loc[df.x > 20].assign(value=1)",
        "assert (df.x > 20).all(); return df",
        "df = df[['wave']].explode('wave').rename(columns={'wave': 'value'}); return df.dropna()",
        "return df.select('_row', value='wave').explode('value')",
        "return df.reset_index()",
        "return df.head(0)",
        "assert len(df) < 30; return df",
    ],
)
def test_what_depends_on_the_reading_alone_passes(body: str) -> None:
    for n in (1, 2, 60):
        checked(body, readings(n))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return df.assign(count=len(df))", r"\(count = \d+ in one batch, count = \d+ in another\)"),
        ("return df.tail(1)", r"\((no|one) row in one batch, (no|one) row in another\)"),
        (
            "return df.loc[df.index.repeat(len(df)), []]",
            r"\((\d+ rows|one row) in one batch, (\d+ rows|one row) in another",
        ),
        (
            "return df.assign(event_time=df.event_time.max())",
            r"\(event_time = \d+ in one batch, event_time = \d+ in another\)",
        ),
    ],
)
def test_the_refusal_shows_what_differs(body: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        checked(body, readings(60))


def test_floats_may_differ_by_what_the_order_of_a_sum_makes() -> None:
    """NumPy adds up in another order when there are more rows; what cancels out is judged by the reading's numbers."""
    rest = "return df.assign(value=df[['x', 'y']].sum(axis=1) - df.x - df.y + 1e-10 * len(df))"
    checked(rest, readings(60, x=[1e9 + i for i in range(60)]))
    with pytest.raises(ConfigError, match="not row-wise"):
        checked(rest, readings(60, x=[1.0] * 60, y=[2.0] * 60))
    singles = "return df.assign(thin=df.x * (1 + 1e-9 * len(df)), peaks=[[x * (1 + 1e-15 * len(df))] for x in df.x])"
    checked(singles, readings(60))
    with pytest.raises(ConfigError, match="not row-wise"):
        checked("return df.assign(value=df.x * (1 + 1e-9 * len(df)))", readings(60))
    with pytest.raises(ConfigError, match=r"no row in one batch|in one batch, no row"):
        checked("return df[df.x == len(df) - 1]", readings(60))
