"""`headrace config`: whether a configuration holds, and what one may contain."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace import receipts, sharing
from headrace.config import Config, load
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.contracts.model import Contract

app = typer.Typer(help="Check a configuration; print its schema.")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The YAML file.", show_default=False)],
) -> None:
    """Whether a configuration holds: its keys and values, its contracts and its routes.

    HEADRACE_ variables of the environment count, as they do for the services. Connects to nothing. Exit code 2, with
    every key that is wrong, when it does not hold.
    """
    config = load(file)
    problems = [p for stream in config.streams for p in stream_problems(config, stream)]
    problems += _unrouted_problems(config)
    problems += [*receipts.problems(config), *sharing.problems(config)]
    if problems:
        raise ConfigError("\n".join([f"{file}: configuration refused", *(f"  {p}" for p in problems)]))
    if config.bridge.shared_group:
        typer.echo(f"{file}: note: {sharing.ORDER}", err=True)
    names = ", ".join(config.streams) or "none"
    typer.echo(f"{file}: good; streams: {names}")


@app.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for editors and programs."""
    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


def stream_problems(config: Config, stream: str) -> list[str]:
    """What is wrong with a stream's contract and routes, in words."""
    from headrace.contracts import files, lint

    where = f"streams.{stream}"
    try:
        contract = files.find(config.contract_of(stream), config.contracts)
    except ConfigError as e:
        return [f"{where}: {line}" for line in str(e).splitlines()]
    problems = [f"{where}: contract {contract.name}: {p}" for p in lint.serious(lint.lint(contract))]
    return [*problems, *_route_problems(config, stream, contract)]


def _unrouted_problems(config: Config) -> Iterator[str]:
    from headrace import filters

    for i, text in enumerate(config.bridge.unrouted):
        try:
            filters.parse(text, f"bridge.unrouted[{i}]", captures=False)
        except ConfigError as e:
            yield str(e)


def _route_problems(config: Config, stream: str, contract: "Contract") -> Iterator[str]:
    from headrace import filters
    from headrace.contracts import captures

    before: list[filters.Filter] = []
    for i, route in enumerate(config.streams[stream].routes):
        where = f"streams.{stream}.routes[{i}].filter"
        try:
            parsed = filters.parse(route.filter, where)
        except ConfigError as e:
            yield str(e)
            continue
        for problem in captures.problems(contract, parsed.captures):
            yield f"{where}: {problem}"
        for other in before:
            if filters.overlap(parsed, other):
                yield f"{where}: {parsed.text} overlaps {other.text}: a message of both would be stored twice"
        before.append(parsed)
