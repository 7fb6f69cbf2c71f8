"""promtool's own verdict on the rules, and each alert firing and quiet."""

import subprocess
from pathlib import Path

import pytest

from tests.observability.prometheus import program

HERE = Path(__file__).resolve().parent
RULES = HERE.parents[1] / "helm" / "headrace" / "files" / "alerts.yaml"


def _promtool(*args: str) -> None:
    done = subprocess.run([str(program("promtool")), *args], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_sound() -> None:
    _promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@pytest.mark.parametrize("path", sorted(HERE.glob("*_test.yaml")), ids=lambda p: p.stem)
def test_alerts_fire_and_stay_quiet(path: Path) -> None:
    _promtool("test", "rules", str(path))
