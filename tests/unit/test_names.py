import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.protocol import names


@pytest.mark.parametrize("text", ["watch-01", "A_b-9", "x" * 64])
def test_letters_digits_underscores_and_hyphens_name_a_device(text: str) -> None:
    assert names.is_device_id(text)


@pytest.mark.parametrize("text", ["", "../etc", "a/b", "a b", "a\n", "a\0", "😀", "é", "x" * 65, "a.b"])
def test_other_texts_can_not_name_a_device(text: str) -> None:
    assert not names.is_device_id(text)


@pytest.mark.parametrize("text", ["Imu", "1imu", "imu-x", "imu.raw", "", "../x", "x" * 49])
def test_other_texts_can_not_name_a_stream(text: str) -> None:
    with pytest.raises(ValueError, match="can't name a stream"):
        names.check_stream(text)


def test_topics_name_their_stream() -> None:
    assert names.stream_of(names.raw_topic("imu")) == names.stream_of(names.clean_topic("imu")) == "imu"


@given(st.text())
def test_a_key_part_has_no_separator(text: str) -> None:
    assert not set(names.key_part(text)) & set("/\\ \n\0?#=&+")
