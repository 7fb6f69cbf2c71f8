import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import ConfigError
from headrace.recordings.cells import number, number_with_comma, text, time_reader

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_json_can_write_keeps_its_digits(value: float) -> None:
    assert number(repr(value)) == repr(value)


@given(st.decimals(allow_nan=False, allow_infinity=False), st.sampled_from(["", "+"]), st.integers(0, 3))
def test_any_decimal_keeps_its_value(value: Decimal, sign: str, zeros: int) -> None:
    digits = f"{value.copy_abs():f}"
    cell = ("-" if value.is_signed() else sign) + "0" * zeros + digits
    assert json.loads(number(cell), parse_float=Decimal, parse_int=Decimal) == value


@pytest.mark.parametrize(
    ("cell", "out"),
    [
        ("4.50", "4.50"), ("-0.0", "-0.0"), ("1E-7", "1E-7"), (".5", "0.5"), ("-.5", "-0.5"), ("5.", "5"), ("+7", "7"),
        ("007", "7"), ("-00.10", "-0.10"), ("0", "0"), ("00", "0"), ("NA", '"NA"'), ("NaN", '"NaN"'), (".", '"."'),
        ("-", '"-"'), ("1,5", '"1,5"'), ("1e", '"1e"'), ("0x10", '"0x10"'), ("1_000", '"1_000"'), ("٣", '"٣"'),
        ("inf", '"inf"'), ("e5", '"e5"'), ('a"b\\', '"a\\"b\\\\"'),
    ],
)  # fmt: skip
def test_a_number_that_json_writes_otherwise_is_rewritten_and_other_cells_are_text(cell: str, out: str) -> None:
    assert number(cell) == out


def test_decimal_commas_only_where_asked_for() -> None:
    assert number_with_comma("2,6") == "2.6"
    assert number_with_comma("-,5") == "-0.5"
    assert number_with_comma("2.6") == "2.6"
    assert number_with_comma("1,2,3") == '"1,2,3"'


@given(st.text())
def test_text_becomes_a_json_string(cell: str) -> None:
    try:
        cell.encode()
    except UnicodeEncodeError:  # a lone surrogate: no file that decodes holds one
        return
    assert json.loads(text(cell)) == cell


@pytest.mark.parametrize(
    ("form", "cell", "us"),
    [
        ("s", "1657534422", 1657534422_000000),
        ("s", "1657534422.123456", 1657534422_123456),
        ("s", "1657534422.1234569", 1657534422_123456),
        ("ms", "1657534422539", 1657534422539_000),
        ("ms", "1.657534422539E12", 1657534422539_000),
        ("us", "1657534422539001", 1657534422539001),
        ("ns", "1657534422539001999", 1657534422539001),
        ("s", "-1", -1_000000),
        ("iso", "2024-02-29T12:00:00Z", 1709208000_000000),
        ("iso", "2024-02-29 12:00:00.5+01:00", 1709204400_500000),
        ("iso", "2024-02-29", 1709164800_000000),
        ("%d/%m/%Y %H.%M.%S", "10/03/2004 18.00.00", 1078941600_000000),
        ("%Y %m %d %H", "2013 3 1 0", 1362096000_000000),
    ],
)
def test_each_time_format_gives_microseconds(form: str, cell: str, us: int) -> None:
    assert time_reader(form, UTC)(cell) == us


def test_times_without_a_zone_are_in_the_one_given() -> None:
    read = time_reader("%Y-%m-%d %H:%M", ZoneInfo("Europe/Rome"))
    assert read("2004-07-01 12:00") == time_reader("iso", UTC)("2004-07-01T10:00:00Z")
    assert time_reader("iso", ZoneInfo("Europe/Rome"))("2004-01-01T12:00:00Z") == 1072958400_000000


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001 - naive on purpose
def test_iso_times_are_exact_to_the_microsecond(when: datetime) -> None:
    expected = (when.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
    assert time_reader("iso", UTC)(when.isoformat()) == expected


@pytest.mark.parametrize(
    ("form", "cell"), [("s", "NA"), ("ms", ""), ("s", "1e400"), ("s", "inf"), ("iso", "x"), ("ns", "²")]
)
def test_a_cell_that_is_not_a_time_is_a_value_error(form: str, cell: str) -> None:
    with pytest.raises(ValueError):
        time_reader(form, UTC)(cell)


@pytest.mark.parametrize("form", ["", "sec", "%Q", "dd/mm/yyyy"])
def test_unknown_formats_are_refused(form: str) -> None:
    with pytest.raises(ConfigError, match="--time"):
        time_reader(form, UTC)
