from headrace.config import Config
from headrace.config.routes import contract_problems
from headrace.contracts.captures import problems
from headrace.contracts.files import find


def test_captures_must_be_fields_that_text_fills() -> None:
    imu = find("imu")
    assert list(problems(imu, ["device_id", "label"])) == []
    found = list(problems(imu, ["site", "ax", "_quality", "boot_id"]))
    assert [words.partition(" is not a text field")[0] for words in found] == ["{site}", "{ax}", "{_quality}"]
    assert "Use device_id, boot_id, label, or write +" in found[0]


def test_every_route_that_captures_something_else_is_named() -> None:
    streams = {"imu": {"routes": ["a/{site}/imu"]}, "environment": {"routes": ["b/{device_id}", "c/{humidity}"]}}
    lines = list(contract_problems(Config.model_validate({"streams": streams})))
    assert ["{site}" in lines[0], "{humidity}" in lines[1]] == [True, True]
    assert len(lines) == 2
