"""`headrace contracts`: make, check, compare and register data contracts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli import context
from headrace.config import Config
from headrace.contracts import files, lint
from headrace.contracts.model import Contract
from headrace.errors import ConfigError, RefusedContractError
from headrace.protocol.names import clean_topic, raw_topic

app = typer.Typer(help="Make, check, compare and register data contracts.")

Streams = Annotated[
    list[str] | None, typer.Argument(metavar="[STREAM]...", help="All streams when none is named.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command()
def check(
    which: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|NAME]...", help="Files, or names of contracts; all when none is given.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check contracts: print each problem with its remedy. Exit code 1 when a contract can't be used as it is.

    Warnings are for a person to judge, and do not change the exit code. Connects to nothing.
    """
    folders = _folders()
    results = {name: _checked(name, folders) for name in which or files.available(folders)}
    bad = any(r["problems"] for r in results.values())
    if as_json:
        typer.echo(json.dumps(results, indent=1))
    else:
        for name, r in results.items():
            typer.echo(f"{name}: {'refused' if r['problems'] else 'good'}")
            for line in (*r["problems"], *(lint.WARNING + w for w in r["warnings"])):
                typer.echo(f"  {line}")
    raise typer.Exit(1 if bad else 0)


@app.command()
def publish(streams: Streams = None) -> None:
    """Register contracts for their streams. Safe to repeat: what is registered already stays as it is.

    One that could not read the readings that are stored already is refused, and keeps no other from being registered.
    Exit code 2 then, with the reason.
    """
    from headrace.schema_registry.client import Registry

    config = context.config()
    chosen = {name: lint.require(_of_stream(config, name)) for name in _named(config, streams)}
    refused: list[str] = []
    with Registry(config.registry) as registry:
        for stream, contract in chosen.items():
            try:
                ids = {registry.register(subject, contract) for subject in _subjects(stream)}
            except RefusedContractError as e:
                refused.append(str(e))
            else:
                typer.echo(f"{stream}: contract {contract.name}, schema id {', '.join(map(str, sorted(ids)))}")
    if refused:
        raise ConfigError("\n".join(refused))


@app.command()
def diff(
    which: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STREAM|FILE]...",
            help="Streams, or files that are to replace their contracts; all streams when none is named.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how contracts differ from the registered ones, what readers will see, and what to do.

    Changes nothing. Exit code 1 when one may not follow the registered one.
    """
    from headrace.cli import contractdiff
    from headrace.schema_registry.client import Registry

    config = context.config()
    chosen = contractdiff.chosen(config, which or ())
    with Registry(config.registry) as registry:
        results = {s: contractdiff.compare(s, contract, registry) for s, contract in chosen.items()}
    if as_json:
        typer.echo(json.dumps(results, indent=1, ensure_ascii=False))
    else:
        for stream, found in results.items():
            for line in contractdiff.lines(stream, found):
                typer.echo(line)
    raise typer.Exit(1 if any(r["state"] == contractdiff.REFUSED for r in results.values()) else 0)


@app.command()
def upgrade(
    stream: Annotated[str, typer.Argument(help="The stream whose contract was changed.")],
    name: Annotated[str, typer.Option(help="Of the new stream; STREAM_v2 when not given.", show_default=False)] = "",
    force: Annotated[bool, typer.Option("--force", help="Also where the changed contract may follow.")] = False,
) -> None:
    """Make a changed contract that may not follow the registered one a stream of its own, STREAM_v2.

    The new stream gets the changed contract and the routes of STREAM, which gets its registered contract back and keeps
    its readings. The view STREAM has the rows of both: columns of one name unite, and those that can't are named.
    Changes the contract's file and the configuration, and no server.
    """
    from headrace.cli import contractupgrade
    from headrace.schema_registry.client import Registry
    from headrace.stack import show

    config = context.config()
    with Registry(config.registry) as registry:
        step = contractupgrade.plan(config, stream, name, registry, force=force)
    contractupgrade.carry_out(step)
    for line in contractupgrade.told(step, stream, show.command(context.state())):
        typer.echo(line)


@app.command()
def new(
    sample: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="What a device sends: a JSON object, an array of objects, or an object a line; or messages with a "
            "topic before each, as mosquitto_sub -v prints them. - is standard input. May be repeated.",
            show_default=False,
        ),
    ] = None,
    *,
    topic: Annotated[
        str,
        typer.Option(
            help="Where it sends it, an MQTT filter: 'plant/{device_id}/pump'. {name} fills a field, {gateway} says "
            "who publishes for it, {field} what a plain value is of.",
            show_default=False,
        ),
    ] = "",
    listen: Annotated[
        str,
        typer.Option(
            metavar="FILTER",
            help="Instead of a file: listen to the broker, such as 'tele/+/SENSOR'. Which level is the device is "
            "guessed, unless {device_id} or --topic says it.",
            show_default=False,
        ),
    ] = "",
    listen_for: Annotated[str, typer.Option("--for", metavar="TIME", help="Listen for so long: 60s, 10m.")] = "60s",
    most: Annotated[int, typer.Option(min=1, max=100_000, help="Messages to listen to, at most.")] = 1000,
    name: Annotated[
        str,
        typer.Option(help="Name of stream and contract; by default the topic's last level.", show_default=False),
    ] = "",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Write the next version of a contract that is there.")] = False,
) -> None:
    """Make a contract and a configuration with its route from a sample of your own payload.

    It says what became of each key, what it could not tell, and what to run next. Several messages give better types.
    Over a contract that is there it proposes a next version that can read what is stored, or says what would break.
    Look through the contract, add units and valid ranges. Listening ends early with Ctrl-C, and keeps what came.
    """
    from headrace.cli import newcontract

    newcontract.make(newcontract.Wish(tuple(sample or ()), topic, listen, listen_for, most, name, out, force))


def _checked(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    try:
        is_file = name.endswith(files.SUFFIX) or "/" in name
        contract = files.read(Path(name)) if is_file else files.find(name, folders)
    except ConfigError as e:
        return {"problems": str(e).splitlines(), "warnings": []}
    found = lint.lint(contract)
    serious = lint.serious(found)
    return {"problems": serious, "warnings": [p.removeprefix(lint.WARNING) for p in found if p not in serious]}


def _folders() -> Sequence[Path]:
    """The folders of the configuration, if there is one: a check works without."""
    try:
        return context.config().contracts
    except ConfigError:
        if context.config_file() is not None:
            raise
        return ()


def _named(config: Config, streams: list[str] | None) -> list[str]:
    if not config.streams:
        raise ConfigError("streams: the configuration has none. Add one, with its MQTT topics")
    unknown = [s for s in streams or () if s not in config.streams]
    if unknown:
        raise ConfigError(f"no stream {unknown[0]!r}. There are: {', '.join(config.streams) or 'none'}")
    return streams or list(config.streams)


def _of_stream(config: Config, stream: str) -> Contract:
    return files.find(config.contract_of(stream), config.contracts)


def _subjects(stream: str) -> tuple[str, str]:
    return f"{raw_topic(stream)}-value", f"{clean_topic(stream)}-value"
