"""`headrace config`: check a configuration, and print what one may contain."""

import json
from pathlib import Path
from typing import Annotated

import typer

from headrace.config import Config, load
from headrace.config.check import Service, require
from headrace.protocol import sharing

app = typer.Typer(help="Check a configuration; print its schema.")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The YAML file.", show_default=False)],
    services: Annotated[
        list[Service] | None,
        typer.Option(
            "--for", help="Check what this service reads. May be repeated; all when left out.", show_default=False
        ),
    ] = None,
) -> None:
    """Check a configuration: its keys and values, its contracts, routes and topics.

    These are the checks that `headrace up` and each service make before they start. HEADRACE_ variables of the
    environment count too, as they do for the services. Connects to nothing. When something is wrong, prints each key
    with what is wrong and ends with exit code 2.
    """
    config = load(file)
    require(config, services or list(Service), file)
    if config.bridge.shared_group:
        typer.echo(f"{file}: note: {sharing.ORDER_WARNING}", err=True)
    names = ", ".join(config.streams) or "none"
    typer.echo(f"{file}: good; streams: {names}")


@app.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for editors and programs."""
    typer.echo(json.dumps(Config.model_json_schema(), indent=2))
