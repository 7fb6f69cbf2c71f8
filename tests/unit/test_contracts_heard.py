"""Samples with topics, as `mosquitto_sub -v` prints them."""

from typing import Any

import pytest

from headrace.contracts import heard
from headrace.contracts.heard import Message, messages_of
from headrace.errors import ConfigError
from headrace.protocol.filters import parse


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'tele/plug-1/SENSOR {"a":1}\r\n', [("tele/plug-1/SENSOR", b'{"a":1}')]),
        (b'\xef\xbb\xbfzigbee2mqtt/Living Room {"a": {"b": 1}}\n', [("zigbee2mqtt/Living Room", b'{"a": {"b": 1}}')]),
        (b'ruuvi/C8:25:2D:AA:9C:2C/FC:53 [{"a":1}]\n', [("ruuvi/C8:25:2D:AA:9C:2C/FC:53", b'[{"a":1}]')]),
        (b"porch/t/state 21.5\nporch/door/state wide open\n",
         [("porch/t/state", b"21.5"), ("porch/door/state", b"wide open")]),
        (b'a/b {\n  "x/y": 1,\n  "z": [\n    1]\n}\na/c 1',
         [("a/b", b'{\n  "x/y": 1,\n  "z": [\n    1]\n}'), ("a/c", b"1")]),
        ('a/b "21.5 °C"\n'.encode(), [("a/b", '"21.5 °C"'.encode())]),
        (b"a/b \xff\x00\x01\n", [("a/b", b"\xff\x00\x01")]),
        (b'{"a/b": 1}\n{"a": 2}\n', []),
        (b'[\n {"a": 1}\n]', []),
        (b"nothing here\n", []),
        (b"\n\n", []),
        (b"a/b\n", []),
    ],
)  # fmt: skip
def test_a_line_is_a_topic_and_a_payload(data: bytes, found: list[tuple[str, bytes]]) -> None:
    assert messages_of(data) == found


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b"21.5", 21.5), (b" -3\n\0", -3), (b"1e3", 1000.0), (b"true", True), (b"OFF", "OFF"), (b'"NNW"', "NNW"),
        (b"21,5", "21,5"), (b"007", "007"), (b"nan", "nan"), (b"\xef\xbb\xbf4", 4), (b"{}", "{}"), (b"\xff", "\ufffd"),
    ],
)  # fmt: skip
def test_a_plain_value_is_a_number_a_boolean_or_text(payload: bytes, found: Any) -> None:
    assert heard.value(payload) == found
    assert type(heard.value(payload)) is type(found)


def test_the_topic_says_what_a_value_is_of() -> None:
    topic = parse("{device_id}/sensor/{field}/state", "--topic")
    came = [
        Message("porch/sensor/t/state", b"21.5"),
        Message("porch/sensor/h/state", b""),
        Message("a/sensor/h/state", b"4"),
    ]
    assert heard.values(came, topic).readings == ({"t": 21.5}, {"h": 4})


def test_what_is_no_object_is_left_out_and_told() -> None:
    sample, left = heard.objects([Message("a/b", b'{"x": 1}'), Message("a/c", b"Online")])
    assert (sample.readings, len(left)) == (({"x": 1},), 1)
    assert left[0].startswith("a/c: not JSON")
    with pytest.raises(ConfigError, match="a/c: not JSON"):
        heard.objects([Message("a/c", b"Online")])
