"""Both Helms take the chart, and make the same of it."""

import pytest

from tests.chart.api import Object
from tests.chart.conftest import Render
from tests.chart.helm import CASES, CHART, Helm


@pytest.mark.parametrize("case", CASES)
def test_lint(case: str, helm3: Helm, helm4: Helm) -> None:
    for helm in (helm3, helm4):
        said = helm.run("lint", "--strict", "--quiet", str(CHART), "-f", str(CASES[case])).stdout
        assert "[WARNING]" not in said


@pytest.mark.parametrize("case", CASES)
def test_both_make_the_same(case: str, helm3: Helm, render: Render) -> None:
    assert _ordered(helm3.render(case)) == _ordered(render(case))


@pytest.mark.parametrize("case", CASES)
def test_an_old_cluster(case: str, helm4: Helm, render: Render) -> None:
    oldest = helm4.render(case, "--kube-version", "1.27.0")
    assert {(o["kind"], o["metadata"]["name"]) for o in oldest} == {
        (o["kind"], o["metadata"]["name"]) for o in render(case)
    }
    assert "kubeVersion" in helm4.refused(case, "--kube-version", "1.26.0")


def test_lint_finds_a_fault(helm3: Helm, helm4: Helm) -> None:
    for helm in (helm3, helm4):
        done = helm.run(
            "lint", "--strict", str(CHART), "-f", str(CASES["minimal"]), "--set", "clean.nonsense=1", ok=False
        )
        assert done.returncode != 0
        assert "nonsense" in done.stdout + done.stderr


def _ordered(objects: list[Object]) -> list[Object]:
    """In one order, and without what is drawn at random each time."""
    plain = [{k: sorted(v) if o["kind"] == "Secret" and k == "data" else v for k, v in o.items()} for o in objects]
    return sorted(plain, key=lambda o: (o["kind"], o["metadata"]["name"]))
