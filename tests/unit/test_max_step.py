"""max_step: the verdict is a function of the log, however it is cut into batches and wherever clean starts again."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Reason, TransientError
from processors.clean.schemas import known_of
from processors.group.schemas import Schemas
from tests.unit.raw_log import MESSAGES, Log, contract, same_however_cut

FAR = "x:max_step:null"


def test_a_value_is_held_against_the_devices_reading_before_and_not_against_what_was_emitted() -> None:
    log = Log()
    for at, (device, x) in enumerate([("d", 20.0), ("e", 90.0), ("d", 25.0), ("d", 90.0), ("d", 26.0), ("d", 25.0)]):
        log.write(x, at, device)
    assert log.values() == [20.0, 90.0, 25.0, FAR, FAR, 25.0]  # 26 follows the raw 90, and is as far from it


def test_a_reading_without_a_value_is_not_the_reading_before() -> None:
    log = Log()
    log.write(20.0, 0)
    for at, x in enumerate([None, -200.0, 500.0, float("nan")], 1):
        log.write(x, at)
    log.write(21.0, -(10**9))  # a time before the minimum
    log.write(90.0, 10)
    assert log.values()[-1] == FAR
    out = Log()
    out.append(b"junk")
    out.write(90.0, 1)
    assert out.values() == [90.0]


def test_copies_and_late_readings_change_nothing_for_those_taken_later() -> None:
    log = Log()
    log.write(20.0, 0, event=1)
    log.write(24.0, 1, event=2)
    log.write(28.0, 2, event=3)
    log.write(20.0, 0, event=1)  # again
    log.write(19.0, -1, event=4)  # late: nothing before it is known
    log.write(23.0, 1, event=5)  # late: 24 is the one before
    log.write(32.0, 3, event=6)
    assert log.values() == [20.0, 24.0, 28.0, 19.0, 23.0, 32.0]


@pytest.mark.parametrize("restart", [False, True])
def test_a_copy_is_the_reading_before_once_its_original_is_out_of_reach(restart: bool) -> None:
    """Else the verdict would depend on whether clean has seen the original, or only the look-back."""
    log = Log(lookback=4)
    log.write(20.0, 0, event=1)
    log.append(b"junk")
    log.append(b"junk")
    log.write(20.0, 0, event=1)
    log.append(b"junk")
    log.write(90.0, 1, event=2)
    log.clean(0, 5)
    if restart:
        log.restart()
    assert log.clean(5, 6).counts.changed == 1


def test_readings_of_another_version_of_the_contract_are_not_compared() -> None:
    log = Log()
    log.write(20.0, 0, schema=1)
    log.write(293.0 - 200, 1, schema=2)
    log.write(21.0, 2, schema=1)
    log.write(80.0, 3, schema=2)
    assert log.values() == [20.0, 93.0, 21.0, FAR]


def test_what_lies_further_back_than_the_look_back_is_forgotten() -> None:
    for between, expected in ((9, FAR), (10, 90.0)):
        log = Log(lookback=10)
        log.write(20.0, 0)
        for _ in range(between):
            log.append(b"other")
        log.write(90.0, 1)
        assert log.values()[-1] == expected, between


def test_a_step_of_exactly_max_step_passes_whatever_the_rounding() -> None:
    for kind in ("double", "float"):
        log = Log(contract(kind, max_step=0.1, on_violation="null"))
        for at, x in enumerate([20.0, 20.1, 20.0, 19.9, 1000.0, 1000.1]):
            log.write(x, at)
        log.write(1000.21, 7)
        assert [v == FAR for v in log.values()] == [False, False, False, False, True, False, True]


def test_whole_numbers_are_compared_exactly() -> None:
    log = Log(contract("long", max_step=5.5, on_violation="null"))
    for at, x in enumerate([2**60, 2**60 + 5, 2**60 + 11, -(2**63), 2**63 - 1]):
        log.write(x, at)
    assert log.values() == [2**60, 2**60 + 5, FAR, FAR, FAR]


def test_a_rejected_step_says_field_value_and_the_one_before() -> None:
    log = Log(contract(max_step=5))
    log.write(20.0, 0)
    log.write(90.5, 1)
    out = log.clean(0, 2)
    assert (len(out.rows), dict(out.reasons)) == (1, {Reason.OUT_OF_RANGE: 1})
    headers = dict(out.letters[0].headers)
    assert headers["detail"] == b"x = 90.5 Cel is more than 5 away from 20.0, the value before it"
    assert (headers["field"], headers["value"]) == (b"x", b"90.5")


def test_contracts_without_such_a_field_keep_no_values() -> None:
    log = Log(contract(maximum=5))
    log.write(1.0, 0)
    log.restart()
    out = log.clean(0, 1)
    assert out.seen.values == {}
    assert log.partition.lookback._memories == {}


def test_while_the_registry_is_away_the_look_back_waits() -> None:
    def away(_: int) -> str:
        raise TransientError("away")

    log = Log()
    log.write(20.0, 0)
    log.clean(0, 1)
    log.schemas = Schemas(away, known_of)
    known = log.partition.known
    with pytest.raises(TransientError):
        log.restart()
    assert log.partition.known < known, "nothing was remembered, so it can be asked for again"


@settings(deadline=None)
@given(
    st.lists(st.tuples(MESSAGES, st.integers(0, 2)), min_size=1, max_size=25),
    st.integers(1, 25),
    st.dictionaries(st.integers(1, 24), st.integers(0, 3)),
)
def test_any_cut_and_any_restart_give_the_same_rows_and_letters(
    messages: list[tuple[Any, int]], lookback: int, cuts: dict[int, int]
) -> None:
    """`cuts`: where a batch ends, and in how many pieces the look-back is read after a restart there; 0: none."""
    same_however_cut(messages, lookback, cuts)


def test_logs_of_copies_late_readings_and_restarts() -> None:
    rnd = random.Random(3)
    for _ in range(100):
        messages: list[tuple[Any, int]] = []
        for i in range(rnd.randint(2, 25)):
            reading = rnd.choice([20.0, 24.0, 90.0, -200.0, None]), i + rnd.randint(-3, 3), rnd.choice("dde"), 1, i
            again = rnd.random() < 0.3 and bool(messages)
            message = rnd.choice(messages)[0] if again else reading
            messages.append((message, rnd.choice([0, 0, 1])))
        cuts = {rnd.randint(1, 24): rnd.randint(0, 3) for _ in range(rnd.randint(0, 6))}
        same_however_cut(messages, rnd.choice([2, 3, 5, 10]), cuts)
