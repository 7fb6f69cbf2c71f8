"""`headrace logs`: what a service of the local stack has logged."""

import time
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli import context
from headrace.errors import ConfigError
from headrace.stack.state import State


def logs(
    service: Annotated[
        str,
        typer.Argument(
            help="mosquitto, kafka, registry, store, bridge, ingest, clean, derive, archive, compact, hub, agent or "
            "stack."
        ),
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show new lines as they come, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines to show.")] = 100,
) -> None:
    """Show the log of one service of the local stack."""
    state = State(context.state())
    path = state.log_file(service)
    if path.parent != state.logs or not path.is_file():
        have = sorted(p.stem for p in state.logs.glob("*.log")) if state.logs.is_dir() else []
        if not have:
            raise ConfigError(f"no stack in {state.path}. Start one with `headrace up`")
        raise ConfigError(f"no log of {service!r}. There are: {', '.join(have)}")
    before = path.with_name(f"{path.name}.1")
    text = (before.read_bytes() if before.is_file() else b"") + path.read_bytes()
    for line in text.decode(errors="replace").splitlines()[-lines:] if lines else []:
        typer.echo(line)
    if follow:
        _follow(path)


def _follow(path: Path) -> None:
    with path.open("rb") as log:
        log.seek(0, 2)
        while True:
            if path.stat().st_size < log.tell():  # rotated: its writer began anew
                log.seek(0)
            if data := log.read():
                typer.echo(data.decode(errors="replace"), nl=False)
            else:
                time.sleep(0.2)
