"""The alert rules, with Prometheus' own promtool: each fires when it should, and is quiet otherwise."""

import subprocess
from pathlib import Path

import pytest

from tests.chart.helm import CHART
from tests.chart.tools import Tools

TESTS = sorted(Path(__file__).resolve().parents[1].glob("observability/*_test.yaml"))


def test_the_rules_are_rules(tools: Tools) -> None:
    _promtool(tools, "check", "rules", "--lint=all", "--lint-fatal", str(CHART / "files" / "alerts.yaml"))


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_when_they_fire(file: Path, tools: Tools) -> None:
    _promtool(tools, "test", "rules", str(file))


def _promtool(tools: Tools, *args: str) -> None:
    done = subprocess.run([str(tools.promtool), *args], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
