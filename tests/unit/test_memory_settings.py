"""How the archive tells the C library to keep memory small, where there is one that listens."""

import ctypes
import os
import subprocess
import sys

import pytest

from processors import memory


class Glibc:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: dict[int, int] = {}

    def mallopt(self, what: int, value: int) -> int:
        self.told[what] = value
        return 1


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})


def test_glibc_is_told_and_arrow_takes_its_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Glibc()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: it)
    memory.settle()
    assert it.told == memory._GLIBC
    assert os.environ["ARROW_DEFAULT_MEMORY_POOL"] == "system"


def test_another_c_library_has_no_such_settings_and_that_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """musl and macOS: the library is there, its `mallopt` is not."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    memory.settle()
    assert os.environ["ARROW_DEFAULT_MEMORY_POOL"] == "system"


def test_what_an_operator_chose_for_arrow_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "mimalloc"
    memory.settle()
    assert os.environ["ARROW_DEFAULT_MEMORY_POOL"] == "mimalloc"


def test_arrow_imports_no_pandas_and_others_still_may() -> None:
    code = """
import sys
from processors.memory import without_pandas
without_pandas()
import numpy, pyarrow
pyarrow.array(numpy.arange(3))
assert "pandas" not in sys.modules
import pandas
"""
    path = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, check=True)
