"""The short form of the fault matrix: faults at load, each with the audit of the whole. `make faults` runs all."""

import time
from collections.abc import Iterator

import pytest

from tests.faults.matrix import ALL
from tests.faults.run import run
from tests.faults.world import World, attached
from tests.stack import Stack

pytestmark = pytest.mark.integration
NAMES = ("bridge-killed", "archive-after-put", "poison")
LONG = ("clean-killed", "kafka-killed", "s3-mute")


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    if not stack.native:
        pytest.skip("the faults kill processes, and containers are not this machine's processes everywhere")
    with attached(stack.state, {"archive": {"max_age_seconds": 3}}) as it:
        yield it


@pytest.mark.parametrize("name", [*NAMES, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)])
def test_nothing_is_lost_and_nothing_is_stored_twice(name: str, world: World) -> None:
    fault = next(f for f in ALL if f.name == name)
    outcome = run(world, fault, seed=int(time.time()) % 1000)
    assert outcome.problems == [], outcome.finding.counts
    assert outcome.finding.obligations > 5000
    assert outcome.finding.letters or fault.shape.poison == 0
