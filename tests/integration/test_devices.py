"""What `verify` says of devices' own numbers, against the defects that the simulator injects."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from headrace.simulation.fleet import Fleet, fleet_devices, run
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("streams")]


def injected(stack: Stack, fleet: Fleet) -> dict[tuple[str, str], set[int]]:
    """The numbers that the fleet will not get into the lake, by device and boot id: skipped, or cut in the middle."""
    out: dict[tuple[str, str], set[int]] = {}
    for device in fleet_devices(stack.config(), fleet):
        assert device.defects is not None
        stored = set()
        for number in range(round(fleet.duration / fleet.environment_interval)):
            reading = {**next(device.readings), "sequence": number}
            payloads = device.defects.apply(reading)
            stored |= {number for p in payloads if p.endswith(b"}")}
        out[device.name, device.boot_id] = set(range(min(stored), max(stored))) - stored
    return out


def listed(stack: Stack, *args: str, ok: bool = True) -> tuple[dict[str, Any], dict[tuple[str, str], dict[str, Any]]]:
    report = stack.json("verify", "--wait", "90", "--json", *args, timeout=150, ok=ok)["streams"]["environment"]
    return report, {(r["device"], r["boot"]): r for r in report["devices"]["listed"]}


def test_verify_names_the_gaps_that_were_injected(stack: Stack) -> None:
    fleet = Fleet(
        streams=("environment",), devices=3, environment_interval=0.2, duration=200, seed=77, start=1_780_000_000.5,
        real_time=False, defects=True,
    )  # fmt: skip
    expected = injected(stack, fleet)
    assert any(len(numbers) > 5 for numbers in expected.values())
    tally = asyncio.run(run(stack.config(), fleet))["environment"]
    report, runs = listed(stack, "--devices")
    for key, numbers in expected.items():
        found = runs[key]
        assert found["missing"] == len(numbers)
        assert found["stored_again"] == 0, "the injected duplicates were dropped"
        ranges = [tuple(r) for r in found["missing_ranges"]]
        assert {n for a, b in ranges for n in range(a, b + 1)} <= numbers
        assert ranges[0][0] == min(numbers)
    assert tally.defects["duplicates"] > 0
    assert (report["gaps"], report["duplicates"]) == (0, 0)
    assert stack.run("verify").returncode == 0
    strict = stack.run("verify", "--strict-sequences", ok=False)
    assert strict.returncode == 1
    assert "a missing number was never sent, or lost before the bridge acknowledged it" in strict.stderr


@pytest.mark.long
def test_the_same_devices_started_again_leave_no_gap(stack: Stack) -> None:
    fleet = Fleet(
        streams=("environment",), devices=2, environment_interval=0.2, duration=20, seed=78, start=1_781_000_000,
        real_time=False,
    )  # fmt: skip
    again = replace(fleet, start=fleet.start + 3600)
    boots = {(d.name, d.boot_id) for f in (fleet, again) for d in fleet_devices(stack.config(), f)}
    assert len(boots) == 4
    for each in (fleet, again):
        asyncio.run(run(stack.config(), each))
    _, runs = listed(stack, "--devices")
    for key in boots:
        assert (runs[key]["first"], runs[key]["last"], runs[key]["numbers"]) == (0, 99, 100)
        assert (runs[key]["missing"], runs[key]["stored_again"]) == (0, 0)
