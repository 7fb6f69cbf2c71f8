"""What `headrace doctor` finds without any server."""

from importlib import metadata
from pathlib import Path

import pytest

from headrace.config import Config
from headrace.operate import doctor as installation
from headrace.stack import doctor as machine


def test_another_distribution_with_a_package_of_ours_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"processors": ["headrace", "processors"], "bridge": ["headrace"], "yaml": ["PyYAML"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: known)
    (found,) = machine._namesakes()
    assert found.level == "bad"
    assert "the distribution processors has a package `processors` too" in found.text
    assert "pip uninstall processors" in found.remedy


def test_nothing_is_said_of_packages_where_they_are_ours_alone() -> None:
    assert list(machine._namesakes()) == []


@pytest.mark.parametrize(("version", "level"), [((1, 6, 9), "bad"), ((2, 0, 11), "warning"), ((2, 1, 2), "good")])
def test_a_broker_that_is_old_or_has_a_known_hole_is_named(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], level: str
) -> None:
    monkeypatch.setattr("headrace.stack.mosquitto.find", lambda: Path("/usr/sbin/mosquitto"))
    monkeypatch.setattr("headrace.stack.mosquitto.version", lambda _: version)
    found = machine._mosquitto()
    assert found.level == level
    assert bool(found.remedy) == (level != "good")


def test_each_problem_of_the_configuration_is_a_finding() -> None:
    streams = {"imu": {"routes": ["a/#/b"]}}
    found = list(installation._config(Config.model_validate({"streams": streams, "bridge": {"unrouted": ["{x}"]}})))
    assert [f.level for f in found] == ["bad", "bad"]
    assert [f.text.partition(":")[0] for f in found] == ["streams.imu.routes[0].filter", "bridge.unrouted[0]"]
    (good,) = installation._config(Config.model_validate({"streams": {"imu": {"routes": ["a/{device_id}"]}}}))
    assert (good.level, good.text) == ("good", "streams: imu")
