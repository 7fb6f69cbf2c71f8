import pytest

from bridge.startup import check
from headrace.config import Config
from headrace.contracts.captures import problems
from headrace.contracts.files import find
from headrace.errors import ConfigError


def test_captures_must_be_fields_that_text_fills() -> None:
    imu = find("imu")
    assert list(problems(imu, ["device_id", "label"])) == []
    found = list(problems(imu, ["site", "ax", "_quality", "boot_id"]))
    assert [words.partition(" is no text field")[0] for words in found] == ["{site}", "{ax}", "{_quality}"]
    assert "device_id, boot_id, label; or write +" in found[0]


def test_the_bridge_names_every_route_that_captures_something_else() -> None:
    streams = {"imu": {"routes": ["a/{site}/imu"]}, "environment": {"routes": ["b/{device_id}", "c/{humidity}"]}}
    with pytest.raises(ConfigError) as caught:
        check(Config.model_validate({"streams": streams}))
    lines = str(caught.value).splitlines()
    assert ["{site}" in lines[0], "{humidity}" in lines[1]] == [True, True]
