"""docs/contracts.md as a newcomer follows it: block after block in a shell, in an empty folder, on its own stack."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from headrace.stack import plan, ports
from headrace.stack.state import State
from tests.page import Step, steps
from tests.stack import ROOT, Stack, turn

pytestmark = [pytest.mark.integration, pytest.mark.long]
PAGE = ROOT / "docs" / "contracts.md"
SECONDS = 90.0  # in which a reading is where a block looks for it


class Shell:
    """Runs the blocks. `headrace` is this one; its stack has free ports, as if it had been told once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder.parent / f"{folder.name}-stack"
        with turn():
            taken: set[int] = set()
            State(self.state).write_json("settings.json", {"ports": {n: ports.free(taken) for n in plan.DEFAULT_PORTS}})
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
        self._env["HEADRACE_STATE"] = str(self.state)

    def run(self, step: Step) -> tuple[int, str]:
        """The exit code of the block's last command, and all that the block printed."""
        with turn() if "headrace up" in step.commands else nullcontext():
            done = subprocess.run(
                ["bash", "-eo", "pipefail", "-c", step.commands], cwd=self.folder, env=self._env, check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
            )  # fmt: skip
        return done.returncode, done.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    folder = tmp_path / "page"
    folder.mkdir()
    it = Shell(folder)
    yield it
    Stack(it.state).down()


def test_every_command_of_the_page_prints_what_the_page_says(shell: Shell) -> None:
    for step in steps(PAGE.read_text(encoding="utf-8")):
        until = time.monotonic() + SECONDS
        while True:
            code, output = shell.run(step)
            if code == step.code and step.matches(output):
                break
            if not step.reads or time.monotonic() > until:
                pytest.fail(f"{step.commands}\nshould print\n{step.prints}\nbut ended with {code} and\n{output}")
            time.sleep(1.0)
