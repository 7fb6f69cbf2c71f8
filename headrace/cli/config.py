"""`headrace config`: whether a configuration holds, and what one may contain."""

import json
from pathlib import Path
from typing import Annotated

import typer

from headrace.config import Config, load
from headrace.errors import ConfigError

app = typer.Typer(help="Check a configuration; print its schema.")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The YAML file.", show_default=False)],
) -> None:
    """Whether a configuration holds: its keys and values, its contracts, and what its routes capture.

    HEADRACE_ variables of the environment count, as they do for the services. Connects to nothing. Exit code 2, with
    every key that is wrong, when it does not hold.
    """
    config = load(file)
    problems = [p for stream in config.streams for p in stream_problems(config, stream)]
    if problems:
        raise ConfigError("\n".join([f"{file}: configuration refused", *(f"  {p}" for p in problems)]))
    names = ", ".join(config.streams) or "none"
    typer.echo(f"{file}: good; streams: {names}")


@app.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for editors and programs."""
    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


def stream_problems(config: Config, stream: str) -> list[str]:
    """What is wrong with a stream's contract and captures, in words."""
    from headrace.contracts import files, lint
    from headrace.contracts.write import captures

    where = f"streams.{stream}"
    try:
        contract = files.find(config.contract_of(stream), config.contracts)
    except ConfigError as e:
        return [f"{where}: {line}" for line in str(e).splitlines()]
    problems = [f"{where}: contract {contract.name}: {p}" for p in lint.serious(lint.lint(contract))]
    texts = [f.name for f in contract.fields if f.kind in {"string", "enum"}]
    for number, route in enumerate(config.streams[stream].routes):
        at = f"{where}.routes.{number}"
        try:
            unknown = [name for name in captures(route.filter) if name not in texts]
        except ConfigError as e:
            problems.append(f"{at}: {e}")
            continue
        problems += [
            f"{at}: {{{name}}} is no text field of the contract {contract.name}. It has {', '.join(texts)}; or write +"
            for name in unknown
        ]
    return problems
