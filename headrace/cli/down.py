"""`headrace down`: stop the local stack."""

import signal
import sys
import time
from typing import Annotated

import typer

from headrace.cli import context
from headrace.errors import ConfigError, HeadraceError
from headrace.stack.process import Process, signal_group, wait_gone
from headrace.stack.state import StackLock, State

# In seconds. The supervisor itself stops within a bound: three services one after the other, then the servers.
GRACE = 100.0
LOCK_SECONDS = 10.0  # a process that is gone may keep its lock until its last thread has ended


def down(
    wipe: Annotated[bool, typer.Option("--wipe", help="Delete its data, secrets and logs as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")] = False,
) -> None:
    """Stop the local stack; its data stays, unless --wipe."""
    state = State(context.state())
    if not state.path.is_dir():
        typer.echo(f"no stack in {state.path}", err=True)
        return
    if wipe and not yes:
        _confirm(state)
    stopped = stop(state)
    if wipe:
        state.wipe()
        typer.echo(f"stopped and deleted: {state.path}", err=True)
    else:
        typer.echo("stopped; the data stays" if stopped else "it was not running", err=True)


def stop(state: State) -> bool:
    """Stop what runs of the stack, with or without its supervisor. Returns whether anything ran.

    HeadraceError when another process is starting the stack.
    """
    from headrace.stack import supervisor

    noted = state.read_json("stack.json").get("supervisor", {})
    boss = Process(noted.get("pid", 0), noted.get("started", ""))
    ran = signal_group(boss, signal.SIGTERM) if state.locked else False
    if ran and not wait_gone([boss], GRACE):
        signal_group(boss, signal.SIGKILL)
        wait_gone([boss], 5.0)
    lock = _lock(state, LOCK_SECONDS if ran else 0.0) if state.path.is_dir() else None
    if lock is None:
        raise HeadraceError(f"another `headrace up` is just starting the stack in {state.path}: try again in a moment")
    try:
        left = supervisor.clear(state)
        info = state.read_json("stack.json")
        if info.get("state") not in {None, "stopped", "failed"}:
            gone = {name: {**s, "state": "stopped", "pid": 0, "started": ""} for name, s in info["services"].items()}
            state.write_json("stack.json", {**info, "state": "stopped", "services": gone})
    finally:
        lock.close()
    return ran or left > 0


def _lock(state: State, seconds: float) -> StackLock | None:
    """The right to run the stack, as soon as it is free; None when it is not free within `seconds`."""
    until = time.monotonic() + seconds
    while (lock := state.lock()) is None and time.monotonic() < until:
        time.sleep(0.1)
    return lock


def _confirm(state: State) -> None:
    question = f"Delete the stack in {state.path}, with all readings it has stored?"
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Confirm with --yes")
    if not typer.confirm(question):
        raise typer.Exit(1)
