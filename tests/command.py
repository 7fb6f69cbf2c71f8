"""The console script, run in the test's own process: one that starts in its own is slow."""

import sys
from typing import NamedTuple

import pytest

from headrace.cli import main


class Run(NamedTuple):
    """How it ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *args: str) -> Run:
    """`headrace args...`."""
    monkeypatch.setattr(sys, "argv", ["headrace", *args])
    code = 0
    try:
        main()
    except SystemExit as e:
        code = int(e.code or 0)
    return Run(code, *capfd.readouterr())
