"""Rules on what arrived before: monotonic and max_stuck. A verdict is a function of the log, however it is cut."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Reason
from tests.profiles import examples
from tests.unit.raw_log import BASE, EVERY, MESSAGES, Log, contract, contract_of, same_however_cut

BACK, STUCK = "x:monotonic:null", "x:max_stuck:flag"


def values(rules: dict[str, Any], *xs: float | None, kind: Any = "double", **log: Any) -> list[Any]:
    """What becomes of these values, which one device sends a second apart."""
    it = Log(contract(kind, **rules), **log)
    for at, x in enumerate(xs):
        it.write(x, at)
    return it.values()


def test_a_meter_that_goes_back_is_held_against_what_arrived_before_and_not_against_what_was_emitted() -> None:
    meter = {"monotonic": "not_decreasing", "on_violation": "null"}
    assert values(meter, 1.0, 2.0, 2.0, 0.5, 0.6, None, 0.5) == [1.0, 2.0, 2.0, BACK, 0.6, None, BACK]


def test_a_counter_may_not_repeat_and_is_compared_exactly() -> None:
    counter = {"monotonic": "increasing", "on_violation": "null"}
    assert values(counter, 1, 2, 2, 2**60, 2**60 + 1, kind="long") == [1, 2, BACK, 2**60, 2**60 + 1]


def test_what_breaks_another_rule_is_not_compared_with_but_what_is_only_flagged_is() -> None:
    rules = {"monotonic": "increasing", "maximum": 100, "on_violation": "null"}
    assert values(rules, 1.0, 500.0, 2.0) == [1.0, "x:maximum:null", 2.0]
    rules["on_violation"] = {"maximum": "flag", "monotonic": "null"}
    assert values(rules, 1.0, 500.0, 2.0) == [1.0, "x:maximum:flag", BACK]


def test_a_value_may_stay_the_same_for_so_many_readings() -> None:
    assert values({"max_stuck": 2, "on_violation": "flag"}, 5, 5, 5, 5, 6, 5, 5, None, 5) == [
        5, 5, STUCK, STUCK, 6, 5, 5, None, STUCK,
    ]  # fmt: skip


def test_a_value_may_stay_the_same_for_so_many_seconds() -> None:
    assert values({"max_stuck_seconds": 1.5, "on_violation": "flag"}, 5, 5, 5, 6, 6) == [5, 5, STUCK, 6, 6]


def test_of_a_run_longer_than_the_look_back_what_is_within_counts() -> None:
    """Nine readings within reach: never more than ten in a row, whatever came before."""
    same = [5.0] * 30
    assert values({"max_stuck": 10, "on_violation": "flag"}, *same, lookback=9) == same
    assert values({"max_stuck": 9, "on_violation": "flag"}, *same, lookback=9)[8:] == [5.0, *[STUCK] * 21]


def test_each_device_is_compared_with_itself() -> None:
    log = Log(contract(monotonic="increasing", on_violation="null"))
    for at, (device, x) in enumerate([("d", 5.0), ("e", 1.0), ("d", 6.0), ("e", 2.0), ("e", 2.0)]):
        log.write(x, at, device)
    assert log.values() == [5.0, 1.0, 6.0, 2.0, BACK]


def test_a_copy_gets_no_verdict() -> None:
    log = Log(contract(monotonic="increasing"))
    for at, event in enumerate([1, 2, 1, 2, 3]):
        log.write(float(event), at, event=event)
    assert log.values() == [1.0, 2.0, 3.0]


BOOT = {"name": "boot_id", "type": ["null", "string"], "default": None, "role": "boot"}
SEQUENCE = {"name": "x", "type": "long", "role": "sequence", "monotonic": "increasing", "on_violation": "flag"}


@pytest.mark.parametrize("restart", [False, True])
def test_a_sequence_is_compared_within_a_boot(restart: bool) -> None:
    log = Log(contract_of([*BASE, BOOT, SEQUENCE]))
    sent = [(7, "a"), (8, "a"), (0, "b"), (8, "a"), (9, "a"), (1, "b"), (1, "b"), (5, None), (4, None)]
    for at, (x, boot) in enumerate(sent):
        log.write(x, at, boot_id=boot)
    if restart:
        log.clean(0, 3)
        log.restart()
        assert log.clean(3, 9).counts.changed == 3
    else:
        assert [row["_quality"] is not None for row in log.rows()] == [False] * 3 + [
            True,
            False,
            False,
            True,
            False,
            True,
        ]


def test_a_clock_that_goes_back_and_a_time_that_repeats() -> None:
    time = {**BASE[1], "monotonic": "increasing", "on_violation": {"monotonic": "flag"}}
    log = Log(contract_of([BASE[0], time, {"name": "x", "type": ["null", "double"], "default": None}]))
    for at in (0, 1, 1, 2, -3600, 3):
        log.write(1.0, at)
    assert [row["_quality"] for row in log.rows()] == [
        None, None, "event_time:monotonic:flag", None, "event_time:monotonic:flag", None,
    ]  # fmt: skip


def test_the_reading_after_a_gap_is_noted_and_one_that_arrives_late_is_not() -> None:
    time = {**BASE[1], "max_gap_seconds": 1.5}
    log = Log(contract_of([BASE[0], time, {"name": "x", "type": ["null", "double"], "default": None}]))
    for at in (0, 1, 3, 4, 2, 5, 5, 900):
        log.write(1.0, at)
    gap = "event_time:max_gap:flag"
    assert [row["_quality"] for row in log.rows()] == [None, None, gap, None, None, None, None, gap]


def test_a_rejected_reading_says_why() -> None:
    log = Log(contract(monotonic="increasing", max_stuck_seconds=3))
    for at, x in enumerate([5.0, 4.0, 4.0]):
        log.write(x, at)
    out = log.clean(0, 3)
    assert dict(out.reasons) == {Reason.OUT_OF_RANGE: 2}
    details = [dict(letter.headers)["detail"] for letter in out.letters]
    assert details == [
        b"x = 4.0 Cel goes back: the reading that arrived before has 5.0",
        b"x = 4.0 Cel was there already",
    ]
    assert {dict(letter.headers)["rule"] for letter in out.letters} == {b"monotonic"}


@examples(1)
@given(
    st.lists(st.tuples(MESSAGES, st.integers(0, 2)), min_size=1, max_size=25),
    st.integers(1, 25),
    st.dictionaries(st.integers(1, 24), st.integers(0, 3)),
)
def test_any_cut_and_any_restart_give_the_same_rows_and_letters(
    messages: list[tuple[Any, int]], lookback: int, cuts: dict[int, int]
) -> None:
    same_however_cut(messages, lookback, cuts, EVERY)


def test_logs_of_few_values_copies_and_restarts() -> None:
    rnd = random.Random(4)
    for _ in range(15):
        messages: list[tuple[Any, int]] = []
        for i in range(rnd.randint(2, 25)):
            reading = rnd.choice([20.0, 20.0, 20.0, 24.0, -200.0]), i + rnd.randint(-1, 1), rnd.choice("ddde"), 1, i
            again = rnd.random() < 0.2 and bool(messages)
            message = rnd.choice(messages)[0] if again else reading
            messages.append((message, rnd.choice([0, 0, 1])))
        cuts = {rnd.randint(1, 24): rnd.randint(0, 3) for _ in range(rnd.randint(0, 6))}
        same_however_cut(messages, rnd.choice([2, 3, 5, 10]), cuts, EVERY)
