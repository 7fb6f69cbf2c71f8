"""`headrace status`: what runs of the local stack, where, and how fast readings flow."""

import json
from typing import Annotated, Any

import typer

from headrace.cli import context
from headrace.errors import ConfigError, TransientError
from headrace.stack import http, show, supervisor
from headrace.stack.process import Process
from headrace.stack.state import State


def status(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """What runs, where, and how fast readings flow. Exit code 1 unless everything is ready."""
    state = State(context.state())
    if context.config_file() is not None and not state.exists:
        raise ConfigError(
            "this is the status of a local stack, and HEADRACE_CONFIG or --config names another installation: "
            "`headrace doctor` looks at its servers; what runs, `docker compose ps` or `kubectl get pods` tells"
        )
    info = look(state)
    info.pop("history", None)
    if as_json:
        typer.echo(json.dumps(info, indent=1))
    else:
        from rich.console import Console

        console = Console(soft_wrap=True)
        console.print(show.table(info))
        console.print(f"\nstatus page {info['page']}   configuration {info['folder']}/headrace.yaml", highlight=False)
        if info["state"] == "left behind":
            typer.echo("its supervisor is gone: `down` stops what is left, `up` starts afresh", err=True)
    if info["state"] != "ready":
        raise typer.Exit(1)


def look(state: State) -> dict[str, Any]:
    """The stack's state with live figures where its supervisor answers; ConfigError when there is no stack."""
    info = state.info()
    info.setdefault("services", {})
    info.setdefault("folder", str(state.path))
    info.setdefault("page", "")
    if state.held:
        try:
            live: dict[str, Any] = json.loads(http.get(f"{info['page']}api/status"))
        except (TransientError, ValueError):
            return {**info, "state": info.get("state", "starting")}
        return live if live.get("folder") == info["folder"] else info
    alive = {name for name, s in info["services"].items() if Process(s["pid"], s["started"]).alive}
    for name, s in info["services"].items():
        s["state"] = "left behind" if name in alive else "stopped"
    left = bool(alive) or bool(supervisor.leftovers(state))
    return {**info, "state": "left behind" if left else "stopped"}
