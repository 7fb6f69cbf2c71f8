"""`headrace restart`: the services of the running stack take what has changed; its servers go on."""

import os
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.output import say
from headrace.cli.up import absolute
from headrace.errors import ConfigError, HeadraceError
from headrace.stack.process import Process
from headrace.stack.state import State

_SECONDS = 180.0


def restart(
    config: Annotated[
        Path | None,
        typer.Option(help="File with your streams and settings, instead of the one in use.", show_default=False),
    ] = None,
) -> None:
    """Start the services of the local stack again, as contracts, streams, transforms and calibrations are now.

    Its servers go on, with their ports and data. What devices send meanwhile waits in the broker.
    """
    from headrace.operate import provision
    from headrace.stack import plan, registered
    from headrace.stack.plan import Wishes

    state = State(context.state())
    if context.config_file() is not None and not state.exists:
        raise ConfigError(
            "`restart` is for a local stack, and HEADRACE_CONFIG or --config names another installation. There: "
            "`docker compose up -d --wait --force-recreate`, or `helm upgrade`"
        )
    if not state.locked:
        raise ConfigError(f"no stack runs in {state.path}. Start it with `headrace up`")
    info = state.info()
    if info.get("state") not in {"ready", "degraded"}:
        raise HeadraceError(f"the stack in {state.path} is {info.get('state', 'starting')}. Try again in a moment")
    made = plan.again(state, Wishes(config=absolute(config or context.config_file())))
    provision.topics(made.config)
    provision.contracts(made.config, say)
    registered.note(state, made.config)
    plan.keep(made)
    began = time.monotonic()
    _restarted(state, info)
    say(f"the services are ready after {time.monotonic() - began:.1f} s, with the streams {_streams(made.config)}")


def _restarted(state: State, before: dict[str, Any]) -> None:
    """Tell the supervisor, and wait. HeadraceError when a service does not start."""
    boss = Process(before["supervisor"]["pid"], before["supervisor"]["started"])
    if not boss.alive or "restarts" not in before:  # gone, or of an older version
        raise HeadraceError(f"the stack in {state.path} can't do that: `headrace down`, then `headrace up`")
    os.kill(boss.pid, signal.SIGUSR1)
    until = time.monotonic() + _SECONDS
    while (info := state.read_json("stack.json")).get("restarts", 0) <= before.get("restarts", 0):
        if not boss.alive or time.monotonic() > until:
            raise HeadraceError("the services did not come back. See `headrace status` and `headrace logs stack`")
        time.sleep(0.1)
    if failed := [s["message"] for s in info["services"].values() if s["state"] == "failed"]:
        raise HeadraceError("\n".join([*failed, "Correct it, and run `headrace restart` again"]))


def _streams(config: Any) -> str:
    from headrace.stack.plan import HUB_STREAMS

    return ", ".join(name for name in config.streams if name not in HUB_STREAMS)
