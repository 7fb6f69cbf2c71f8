"""The bridge's example configuration loads, and its routes and contracts fit together."""

from pathlib import Path

from bridge import startup
from headrace.config import load

EXAMPLE = Path(__file__).resolve().parents[2] / "bridge" / "example.yaml"


def test_the_example_is_a_configuration_that_the_bridge_runs_on() -> None:
    work = startup.check(load(EXAMPLE, {}))
    assert {r.stream for r in work.plan.routes} == {"imu", "pump"}
    assert {s.filter for s in work.plan.subscriptions} == {"sensors/#", "plant/+/pump"}
