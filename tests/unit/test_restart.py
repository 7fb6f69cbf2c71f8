"""`headrace restart`: when it can't, and what it tells of services that do not start."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from headrace.cli import context
from headrace.cli import restart as command
from headrace.errors import HeadraceError
from headrace.operate import provision
from headrace.stack import plan, registered
from headrace.stack.plan import Wishes
from headrace.stack.process import start_time
from headrace.stack.state import State

# A supervisor in the way that it is told and that it answers: at SIGUSR1 the file is replaced by the answer.
_SUPERVISOR = """
import os, signal, sys
def answer(*_):
    os.replace(sys.argv[1], sys.argv[2])
signal.signal(signal.SIGUSR1, answer)
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    context.set_options(tmp_path / "state", None)
    monkeypatch.setattr(provision, "topics", lambda _: [])
    monkeypatch.setattr(provision, "contracts", lambda *_: {})
    monkeypatch.setattr(registered, "note", lambda *_: None)
    return State(tmp_path / "state")


@pytest.fixture
def supervisor(state: State) -> Iterator[dict[str, Any]]:
    """The stack.json of a stack that runs."""
    plan.make(state, Wishes(auto_ports=True))
    argv = [sys.executable, "-c", _SUPERVISOR, str(state.path / "answer.json"), str(state.path / "stack.json")]
    lock = state.lock()
    assert lock is not None
    with closing(lock), subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pid = {"pid": process.pid, "started": start_time(process.pid)}
        yield {"state": "ready", "restarts": 0, "supervisor": pid, "services": {}}
        process.kill()


def restart(*args: str) -> Result:
    app = typer.Typer()
    app.command()(command.restart)
    return CliRunner().invoke(app, args)


def problem(*args: str) -> str:
    error = restart(*args).exception
    assert isinstance(error, HeadraceError), error
    return str(error)


def test_without_a_stack_it_says_what_to_do(state: State, tmp_path: Path) -> None:
    assert problem() == f"no stack runs in {state.path}. Start it with `headrace up`"
    context.set_options(tmp_path / "state", tmp_path / "headrace.yaml")
    assert "docker compose up -d --wait --force-recreate" in problem()


def test_the_services_take_the_streams_of_now(state: State, supervisor: dict[str, Any], tmp_path: Path) -> None:
    state.write_json("stack.json", supervisor)
    state.write_json("answer.json", {**supervisor, "restarts": 1})
    (tmp_path / "my.yaml").write_text("streams: {imu: {routes: ['{device_id}/imu']}}")
    ports = state.read_json("settings.json")["ports"]
    result = restart("--config", str(tmp_path / "my.yaml"))
    assert result.exit_code == 0, result.exception
    assert result.stderr.endswith("with the streams imu\n")
    assert list(state.config().streams) == ["imu", "device_events", "device_audit"]
    assert state.read_json("settings.json")["ports"] == ports
    assert plan.load_made(state).config_path == tmp_path / "my.yaml"


def test_a_service_that_does_not_start_is_told(state: State, supervisor: dict[str, Any]) -> None:
    state.write_json("stack.json", supervisor)
    failed = {"clean": {"state": "failed", "message": "clean does not start: transform: no such file"}}
    state.write_json("answer.json", {**supervisor, "restarts": 1, "services": failed})
    assert problem() == ("clean does not start: transform: no such file\nCorrect it, and run `headrace restart` again")


def test_a_supervisor_of_an_older_version_is_left_alone(state: State, supervisor: dict[str, Any]) -> None:
    del supervisor["restarts"]
    state.write_json("stack.json", supervisor)
    assert "`headrace down`, then `headrace up`" in problem()


def test_a_configuration_that_does_not_hold_changes_nothing(
    state: State, supervisor: dict[str, Any], tmp_path: Path
) -> None:
    state.write_json("stack.json", supervisor)
    (tmp_path / "my.yaml").write_text("streams: {pump: {routes: ['{device_id}/pump']}}")
    before = state.config_file.read_bytes()
    assert "no contract 'pump'" in problem("--config", str(tmp_path / "my.yaml"))
    assert state.config_file.read_bytes() == before
