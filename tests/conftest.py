"""For all tests: one stack a session, and Hypothesis judges by what it finds, never by how fast a busy machine is."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.stack import Stack

settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headrace")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The session's stack, on free ports; with STACK=docker its servers are containers."""
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
