"""For all tests: one stack a session, the lanes of `make test`, and the Hypothesis profiles."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import lanes, profiles
from tests.secured.certs import Certs
from tests.stack import Stack

profiles.register()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--lane`: see tests/lanes.py."""
    parser.addoption("--lane", choices=list(lanes.LANES), help="only the tests of this lane of tests/lanes.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of other lanes."""
    lane: str | None = config.getoption("--lane")
    others = [it for it in items if lane is not None and lanes.lane_of(it) != lane]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [it for it in items if it not in set(others)]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The session's stack, on free ports, or the one that all lanes share.

    With STACK=docker its servers are containers.
    """
    if folder_of_all := os.environ.get(lanes.SHARED):
        with lanes.shared(Path(folder_of_all)) as one:
            yield one
        return
    folder = tmp_path_factory.mktemp("stack")
    if os.environ.get("STACK") == "docker":
        from tests.dockerstack import docker_stack

        with docker_stack(folder) as containers:
            yield containers
        return
    it = Stack(folder)
    it.up()
    try:
        yield it
    finally:
        it.down()


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    """Certificates of an authority of our own: good ones, and ones that must be refused."""
    return Certs(tmp_path_factory.mktemp("certs"))
