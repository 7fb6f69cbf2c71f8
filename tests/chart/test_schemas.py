"""What the chart renders is what Kubernetes and the operators take, key by key."""

import json
import subprocess
from collections.abc import Callable

import pytest

from headrace.errors import FatalError
from tests.chart import schemas
from tests.chart.api import Object
from tests.chart.cluster import Cluster
from tests.chart.conftest import Render
from tests.chart.helm import CASES, NAMESPACE
from tests.chart.tools import Tools

Kubeconform = Callable[[list[Object]], str]


@pytest.fixture(scope="session")
def kubeconform(
    tools: Tools, cluster: Cluster, render: Render, tmp_path_factory: pytest.TempPathFactory
) -> Kubeconform:
    """Runs it on objects: what it has to say, nothing where all is well."""
    folder = tmp_path_factory.mktemp("schemas")
    schemas.write(cluster.api, {(o["apiVersion"], o["kind"]) for case in CASES for o in render(case)}, folder)
    argv = [str(tools.kubeconform), "-strict", "-schema-location", f"{folder}/{schemas.LOCATION}"]

    def run(objects: list[Object]) -> str:
        text = "\n---\n".join(json.dumps(o) for o in objects)
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode == 0) == (not done.stdout), done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("case", CASES)
def test_kubeconform(case: str, kubeconform: Kubeconform, render: Render) -> None:
    assert kubeconform(render(case)) == ""


@pytest.mark.parametrize("case", CASES)
def test_the_api_server(case: str, cluster: Cluster, render: Render, namespace: str) -> None:
    for item in sorted(render(case), key=lambda o: o["kind"] != "ServiceAccount"):
        # A pod is asked for its service account, which therefore has to be there.
        cluster.api.apply(_in(namespace, item), namespace, dry_run=item["kind"] != "ServiceAccount")


def test_both_find_a_fault(kubeconform: Kubeconform, cluster: Cluster, render: Render, namespace: str) -> None:
    for kind, path in (("Deployment", ("spec", "template", "spec")), ("ServiceMonitor", ("spec",))):
        item = json.loads(json.dumps(next(o for o in render("observability") if o["kind"] == kind)))
        inside = item
        for key in path:
            inside = inside[key]
        inside["unheardOf"] = 1
        assert "unheardOf" in kubeconform([item])
        with pytest.raises(FatalError, match="unheardOf"):
            cluster.api.apply(_in(namespace, item), namespace, dry_run=True)


def test_nothing_is_left_out(kubeconform: Kubeconform) -> None:
    """A kind without a schema is an error, not a pass."""
    unknown = {"apiVersion": "example.org/v1", "kind": "Unknown", "metadata": {"name": "x"}}
    assert "could not find schema" in kubeconform([unknown])


def _in(namespace: str, item: Object) -> Object:
    """The object as it would be in another namespace than the one it was rendered for."""
    assert item["metadata"].get("namespace", NAMESPACE) == NAMESPACE
    return {**item, "metadata": {**item["metadata"], "namespace": namespace}}
