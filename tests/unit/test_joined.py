"""Values in one buffer are the values that went in."""

import numpy as np
import pytest

from processors.joined import Joined

VALUES = [b"ab", b"", None, b"c", b"", b"defg"]
PLAIN = [v or b"" for v in VALUES]


def test_each_comes_out_as_it_went_in() -> None:
    it = Joined.of(VALUES)
    assert it.separate() == [it.at(i) for i in range(len(it))] == PLAIN
    assert Joined.of([]).separate() == []


@pytest.mark.parametrize("first", range(7))
@pytest.mark.parametrize("end", range(7))
def test_cut(first: int, end: int) -> None:
    if first <= end:
        assert Joined.of(VALUES).cut(first, end).separate() == PLAIN[first:end]


def test_pick_and_concat() -> None:
    it = Joined.of(VALUES)
    assert it.pick(np.array([3, 5, 1])).separate() == [b"c", b"defg", b""]
    assert it.pick(np.arange(6)) is it
    assert Joined.concat([it, Joined.of([]), it.cut(3, 6)]).separate() == [*PLAIN, *PLAIN[3:]]
