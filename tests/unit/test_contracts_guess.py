"""What `contracts new` guesses from values: units that a name alone does not say, and times in quotes."""

import pytest

from headrace.contracts import guess
from headrace.contracts.infer import infer


@pytest.mark.parametrize(
    ("values", "unit"), [([-35, -97.5], "dBm"), ([78], None), ([-0.1, -12], None), ([-60, 31], None), ([], None)]
)
def test_rssi_is_in_dbm_where_the_numbers_can_be(values: list[float], unit: str | None) -> None:
    """Tasmota's is a percentage, and that of rtl_433 is in decibels below the receiver's full scale."""
    assert guess.unit("rx_rssi", values) == unit


@pytest.mark.parametrize(("text", "unit"), [("1795428011", "s"), ("1795428011.46", "s"), ("1795428011123", "ms")])
def test_a_time_may_be_a_number_in_quotes(text: str, unit: str) -> None:
    """As a Ruuvi Gateway sends it; the route reads it, as a contract takes no numbers in quotes."""
    made = infer("it", [{"ts": text, "x": 1.5}], ("device_id",))
    assert made.mapping == {"event_time": {"path": "ts", "unit": unit}}
    assert (made.contract.field("ts").kind, made.contract.field("event_time").aliases) == ("string", ())
    assert made.told[0].why == f"{unit} since 1970, in quotes"


@pytest.mark.parametrize("times", [["1795428011", "2026-11-23T10:00:12Z"], ["0000000017"], ["20261123100012"]])
def test_other_texts_are_no_such_times(times: list[str]) -> None:
    made = infer("it", [{"ts": t, "x": 1} for t in times], ("device_id",))
    assert made.mapping == {}


def test_digits_with_zeros_before_them_name_something() -> None:
    made = infer("it", [{"eui": "0004", "frequency": "868300000"}], ("device_id",))
    assert [t.open for t in made.told] == [False, True]


@pytest.mark.parametrize(
    ("text", "form", "zoned"),
    [
        ("2018.02.15 01:00:50", "%Y.%m.%d %H:%M:%S", False),  # Tasmota 5
        ("2026/11/23 10:00:12", "%Y/%m/%d %H:%M:%S", False),
        ("23.11.2026 10:00:12", "%d.%m.%Y %H:%M:%S", False),
        ("2026-11-23 10:00:12 UTC", "%Y-%m-%d %H:%M:%S UTC", True),
    ],
)
def test_a_time_may_be_in_another_form_that_can_be_read_in_one_way(text: str, form: str, zoned: bool) -> None:
    made = infer("it", [{"Time": text, "x": 1.5}], ("device_id",))
    assert made.mapping == {"event_time": {"path": "Time", "format": form}}
    assert (made.told[0].why.partition(",")[0], made.zone) == (form, not zoned)


@pytest.mark.parametrize("text", ["11/23/2026 10:00:12", "2026.13.45 01:00:50", "0001.01.01 00:00:00"])
def test_other_forms_are_left_to_a_person(text: str) -> None:
    made = infer("it", [{"Time": text, "x": 1.5}], ("device_id",))
    assert made.mapping == {}
    assert any("form of its own" in hint for hint in made.hints)
