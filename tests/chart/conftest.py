"""Once a session: the programs, what they render, a cluster. `make chart-test` runs these, bare `make test` not."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.chart.api import Object
from tests.chart.cluster import Cluster, cluster
from tests.chart.helm import Helm
from tests.chart.tools import Tools, tools

Render = Callable[..., list[Object]]


@pytest.fixture(scope="session", name="tools")
def _tools() -> Tools:
    return tools()


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("helm")


@pytest.fixture(scope="session")
def helm3(tools: Tools, homes: Path) -> Helm:
    return Helm(tools.helm3, homes / "3")


@pytest.fixture(scope="session")
def helm4(tools: Tools, homes: Path) -> Helm:
    return Helm(tools.helm4, homes / "4")


@pytest.fixture(scope="session")
def render(helm4: Helm) -> Render:
    """`render(case, *args)`: what Helm 4 makes of it; each once a session."""
    return cache(helm4.render)


@pytest.fixture(scope="session", name="cluster")
def _cluster(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster"), tools) as it:
        yield it


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own that enforces the pod security standard `restricted`; gone afterwards."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    cluster.api.add_namespace(name, **{"pod-security.kubernetes.io/enforce": "restricted"})
    try:
        yield name
    finally:
        cluster.api.remove_namespace(name)
