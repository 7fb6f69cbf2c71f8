"""Which level of the topics that were heard names the device."""

import pytest

from headrace.contracts.topics import with_device
from headrace.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "topics", "found"),
    [
        ("tele/+/SENSOR", ["tele/plug-1/SENSOR"], "tele/{device_id}/SENSOR"),
        ("a/{device_id}/+", ["a/b/c"], "a/{device_id}/+"),
        ("application/+/device/+/event/up", ["application/1/device/x/event/up"],
         "application/+/device/{device_id}/event/up"),
        ("ruuvi/+/+", ["ruuvi/C8:25:2D:AA:9C:2C/FC:53:94:C3:7C:00"], "ruuvi/+/{device_id}"),
        ("+/+", ["plug-1/a", "plug-2/a"], "{device_id}/+"),
        ("+/+", ["AA:BB:CC:DD:EE:FF/a", "AA:BB:CC:DD:EE:FF/b"], "{device_id}/+"),
        ("zigbee2mqtt/#", ["zigbee2mqtt/one", "zigbee2mqtt/two"], "zigbee2mqtt/{device_id}"),
        ("sensors/#", ["sensors/a/imu", "sensors/b/imu"], "sensors/{device_id}/imu"),
    ],
)  # fmt: skip
def test_the_level_of_the_device_is_found(text: str, topics: list[str], found: str) -> None:
    assert with_device(text, topics, "--listen") == found


@pytest.mark.parametrize(
    ("text", "topics", "words"),
    [
        ("a/b", ["a/b"], "no level names the device"),
        ("a/#", ["a/b", "a/b/c"], "messages of several kinds came (a/b, a/b/c, ...)"),
    ],
)
def test_where_none_can_be_it_is_said(text: str, topics: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match="--listen: ") as e:
        with_device(text, topics, "--listen")
    assert words in str(e.value)
