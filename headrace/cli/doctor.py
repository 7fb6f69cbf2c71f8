"""`headrace doctor`: what is missing on this machine, and wrong or unsafe in this configuration."""

import json
from typing import Annotated

import typer

from headrace.cli import context
from headrace.cli.output import say
from headrace.stack import extras
from headrace.stack.state import State

_MARKS = {"good": ("✓", "green"), "warning": ("!", "yellow"), "bad": ("✗", "red")}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Check this machine, the configuration, and the servers that it names or that the local stack runs.

    Each finding that is not good names its remedy. Exit code 1 when something can't work as it is.
    """
    missing = extras.missing()
    if any(name.startswith(("confluent", "minio", "fastavro")) for name in missing):
        say(f"packages are missing: {', '.join(missing)}. `headrace up` installs them")
        raise typer.Exit(1)
    from headrace.operate.doctor import installation
    from headrace.stack.doctor import machine

    state = State(context.state())
    findings = list(machine(state)) if context.config_file() is None else []
    if context.config_file() is not None or state.locked:
        findings += installation(context.config())
    if as_json:
        typer.echo(json.dumps([f._asdict() for f in findings], indent=1))
    else:
        for f in findings:
            mark, colour = _MARKS[f.level]
            typer.echo(f"{typer.style(mark, fg=colour)} {f.subject}: {f.text}")
            if f.remedy:
                typer.echo(f"    {f.remedy}")
        say(_summary([f.level for f in findings]))
    if any(f.level == "bad" for f in findings):
        raise typer.Exit(1)


def _summary(levels: list[str]) -> str:
    counts = [("problem", "✗", levels.count("bad")), ("warning", "!", levels.count("warning"))]
    found = [(f"{n} {what}{'s' if n > 1 else ''}", mark) for what, mark, n in counts if n]
    if not found:
        return "all is well"
    return f"{' and '.join(words for words, _ in found)}: see the lines marked {' and '.join(m for _, m in found)}"
