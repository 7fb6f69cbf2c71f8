"""For all tests: one stack a session, and Hypothesis judges by what it finds, never by how fast a busy machine is."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.stack import Stack

settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headrace")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The session's stack, on free ports. Its logs are printed where it does not come up."""
    it = Stack(tmp_path_factory.mktemp("stack"))
    it.run("up", "--detach", "--auto-ports", timeout=600)
    try:
        yield it
    finally:
        it.run("down", timeout=60)
