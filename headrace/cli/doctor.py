"""`headrace doctor`: what is missing on this machine or unsafe in this configuration."""

import json
from typing import Annotated

import typer

from headrace.cli import context
from headrace.stack import extras
from headrace.stack.state import State

_MARKS = {"good": ("✓", "green"), "warning": ("!", "yellow"), "bad": ("✗", "red")}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Look at this machine, and at the servers of the configuration or the running stack.

    Exit code 1 when something does not work so; each finding names its remedy.
    """
    missing = extras.missing()
    if any(name.startswith(("confluent", "minio", "fastavro")) for name in missing):
        typer.echo(f"packages are missing: {', '.join(missing)}. `headrace up` installs them", err=True)
        raise typer.Exit(1)
    from headrace.stack.doctor import installation, machine

    state = State(context.state())
    findings = list(machine(state)) if context.config_file() is None else []
    if context.config_file() is not None or state.held:
        findings += installation(context.config())
    if as_json:
        typer.echo(json.dumps([f._asdict() for f in findings], indent=1))
    else:
        for f in findings:
            mark, colour = _MARKS[f.level]
            typer.echo(f"{typer.style(mark, fg=colour)} {f.subject}: {f.text}")
            if f.remedy:
                typer.echo(f"    {f.remedy}")
    if any(f.level == "bad" for f in findings):
        raise typer.Exit(1)
