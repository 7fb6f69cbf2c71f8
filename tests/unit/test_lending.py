"""Devices that a command plays are in the registry, and take nothing from those that are real."""

from pathlib import Path

import pytest

from headrace.errors import HeadraceError
from headrace.hub import lending
from headrace.hub.client import RefusedError, device_path
from tests import hubworld


def test_simulated_devices_are_added_once_and_get_a_new_password_each_time(tmp_path: Path) -> None:
    with hubworld.served(hubworld.lite(tmp_path)) as hub:
        hub.broker.post("/api/broker/applied", {"version": 0})
        with pytest.raises(HeadraceError, match="agent beside the broker"):
            lending.passwords(hub.admin, ["sim-1"], seconds=0.1)
        hub.broker.post("/api/broker/applied", {"version": 1})
        first = hub.broker.get("/api/broker")["passwords"]["sim-1"]
        with pytest.raises(HeadraceError, match="agent beside the broker"):
            lending.passwords(hub.admin, ["sim-1", "sim-2"], seconds=0.1)
        second = hub.broker.get("/api/broker")["passwords"]
        assert set(second) == {"sim-1", "sim-2"}
        assert second["sim-1"] != first
        assert hub.admin.get(device_path("sim-2"))["tags"] == [lending.TAG]


def test_a_real_device_of_that_name_keeps_its_password(tmp_path: Path) -> None:
    with hubworld.served(hubworld.lite(tmp_path)) as hub:
        hubworld.add(hub.admin, "sim-1")
        before = hub.broker.get("/api/broker")
        with pytest.raises(RefusedError, match="nothing was imported"):
            lending.passwords(hub.admin, ["sim-1", "sim-2"], seconds=0.1)
        assert hub.broker.get("/api/broker") == before
