"""A function that takes long, or makes much of little: the process shows that it lives, and its memory is bounded."""

import pandas as pd
import pytest

from headrace.transforms import run
from headrace.transforms.code import Code
from headrace.transforms.run import Failure, Transform
from headrace.transforms.sample import sample
from headrace.transforms.table import fields_of, table
from processors.group import relay
from processors.group.emit import Row
from tests.unit.test_transforms import TOY

ROWS = 200


class Function:
    """One that takes `seconds` for each row, by a clock of its own, and fails on the rows `bad`."""

    def __init__(self, seconds: float, bad: frozenset[int] = frozenset()) -> None:
        self.seconds, self.bad = seconds, bad
        self.now = 0.0
        self.calls: list[float] = []  # how long each took
        self.alive_at: list[float] = []

    def __call__(self, part: pd.DataFrame) -> pd.DataFrame:
        self.calls.append(self.seconds * len(part))
        self.now += self.calls[-1]
        assert not self.bad & set(part.index)
        return part

    def run(self, it: Transform) -> tuple[list[int], dict[int, Failure]]:
        failures: dict[int, Failure] = {}
        fields = fields_of(TOY)
        whole = table(fields, sample(TOY, ROWS))
        parts = it.in_parts(fields, whole, self, failures, lambda: self.alive_at.append(self.now))
        return [row for first, end, _ in parts for row in range(first, end)], failures


@pytest.fixture
def it() -> Transform:
    return Transform(Code("def transform(df):\n    return df\n", "toy.py"))


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.3, 2.0, 20.0])
def test_a_function_is_called_with_as_many_rows_as_take_a_second(
    it: Transform, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = frozenset({3, 77})
    function = Function(seconds, bad)
    monkeypatch.setattr(run, "monotonic", lambda: function.now)
    rows, failures = function.run(it)
    assert sorted([*rows, *failures]) == list(range(ROWS))
    assert failures.keys() == bad
    assert max(function.calls[1:]) <= max(2.0, seconds), "after the first, which learns"
    assert function.calls[0] <= 4 * seconds
    # /livez allows a minute between two signs of life, and the group's members five.
    assert max(b - a for a, b in zip(function.alive_at, function.alive_at[1:], strict=False)) <= max(2.0, 4 * seconds)
    if not seconds:
        assert len(function.calls) < 40


def test_what_was_learnt_holds_for_the_next_batch(it: Transform, monkeypatch: pytest.MonkeyPatch) -> None:
    function = Function(20.0)
    monkeypatch.setattr(run, "monotonic", lambda: function.now)
    function.run(it)
    function.calls.clear()
    function.run(it)
    assert set(function.calls) == {20.0}


@pytest.mark.parametrize(
    ("count", "seconds", "rows", "size", "wanted"),
    [
        (1000, 2.0, 1000, 100, 4000),  # small and quick: as asked
        (1000, 20.0, 1000, 100, 500),
        (1000, 0.1, 1_000_000, 100, 61),  # 1.1 GB of rows: as many messages as make 64 MB
        (16, 0.1, 16, 8 * 1024 * 1024, 16),  # never less
        (400, 0.1, 0, 0, 4000),
    ],
)
def test_a_batch_is_as_large_as_its_time_and_its_rows_allow(
    count: int, seconds: float, rows: int, size: int, wanted: int
) -> None:
    made: list[Row] = [(b"key", b"v" * size, [])] * rows
    assert relay.fitting(4000, count, seconds, [made]) == wanted
