"""The services' example configurations load, and their routes and contracts fit together."""

from pathlib import Path

from bridge import startup
from headrace.config import load

ROOT = Path(__file__).resolve().parents[2]


def test_the_bridges_example_is_a_configuration_that_it_runs_on() -> None:
    work = startup.prepare(load(ROOT / "bridge" / "example.yaml", {}))
    assert {r.stream for r in work.routing.routes} == {"imu", "pump", "home"}
    assert {s.filter for s in work.routing.subscriptions} == {
        "sensors/#", "plant/+/pump", "esphome/+/sensor/+/state", "garden/+/temp",
    }  # fmt: skip


def test_the_processors_example_says_the_defaults() -> None:
    cfg = load(ROOT / "processors" / "example.yaml", {})
    assert (cfg.clean.http.port, cfg.archive.http.port) == (9102, 9103)
    assert cfg.clean.lookback == load(None, {}).clean.lookback
    assert cfg.archive.memory_bytes == load(None, {}).archive.memory_bytes
