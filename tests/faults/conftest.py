"""Every test here runs on the session's stack, and takes seconds."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults.own import Make, Own
from tests.stack import Stack


@pytest.fixture
def own(stack: Stack, tmp_path: Path) -> Make:
    """Makes a stream of the test's own."""

    def make(**settings: Any) -> Own:
        return Own(stack, tmp_path, **settings)

    return make
