"""`headrace status`: what runs of the local stack, where, and how fast readings flow."""

import json
from typing import Annotated, Any

import typer

from headrace.cli import context
from headrace.errors import ConfigError
from headrace.stack import figures, show
from headrace.stack.process import Process, marked
from headrace.stack.state import State


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what runs, where, and how fast readings flow. Exit code 1 unless everything is ready.

    The numbers of readings and dead letters count from when the services started. `headrace verify` counts all that is
    stored.
    """
    state = State(context.state())
    if context.config_file() is not None and not state.exists:
        raise ConfigError(
            "`status` is for a local stack, and HEADRACE_CONFIG or --config names another installation. `headrace "
            "doctor` checks its servers; `docker compose ps` or `kubectl get pods` shows what runs"
        )
    info = look(state)
    if state.locked:
        info = figures.beside(info, figures.told(state.config()))
    if as_json:
        typer.echo(json.dumps(info, indent=1))
    else:
        from rich.console import Console

        terminal = Console(soft_wrap=True)
        terminal.print(show.table(info))
        terminal.print(f"\nconfiguration {info['folder']}/headrace.yaml", highlight=False)
        if state.locked:
            terminal.print(f"console {show.console(state.config())}", highlight=False)
        if info["state"] == "left behind":
            typer.echo("its supervisor is gone: `down` stops what is left, `up` starts it again", err=True)
    if info["state"] != "ready":
        raise typer.Exit(1)


def look(state: State) -> dict[str, Any]:
    """The stack's state, and that of each service. ConfigError when there is no stack."""
    info = state.info()
    info.setdefault("services", {})
    info.setdefault("folder", str(state.path))
    if state.locked:
        return {**info, "state": info.get("state", "starting")}
    alive = {name for name, s in info["services"].items() if Process(s["pid"], s["started"]).alive}
    for name, s in info["services"].items():
        s["state"] = "left behind" if name in alive else "stopped"
    left = bool(alive) or bool(marked(state.path))
    return {**info, "state": "left behind" if left else "stopped"}
