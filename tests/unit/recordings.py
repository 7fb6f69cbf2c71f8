"""Real recordings, which are kept out of the repository: tests that read them skip without.

Set RECORDINGS to their folder; ../shared/data beside the checkout is found without it.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = Path(os.environ.get("RECORDINGS", ROOT.parent / "shared" / "data"))


def needed(name: str) -> pytest.MarkDecorator:
    """A mark for a test that reads the file or folder `name` of the recordings."""
    return pytest.mark.skipif(not (RECORDINGS / name).exists(), reason=f"the recording {name} is not here")
