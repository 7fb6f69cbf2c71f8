"""`headrace profiles`: how files become readings."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import context
from headrace.cli.output import data, printable, progress, say
from headrace.cli.trialtable import first_rows, show_cells, time_of
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress, TaskID

    from headrace.contracts.model import Contract
    from headrace.readers.apart import Apart
    from headrace.readers.source import Source
    from headrace.uploads.profile import Profile
    from headrace.uploads.trial import Trial

app = typer.Typer(help="Try how files become readings: docs/files.md.")


@app.callback()
def profiles() -> None:
    """Try how files become readings: docs/files.md."""


@app.command("test")
def try_out(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files, folders, and zip files.")],
    profile: Annotated[
        Path | None,
        typer.Option(help="A profile (YAML). Without it: what stands in the file.", show_default=False),
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="How many of the first rows to show.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Show what a profile makes of files, without sending anything: each row is a reading, or it is said why not.

    Exit code 1 where a row would become a dead letter.
    """
    from headrace.readers.apart import Apart
    from headrace.uploads import profile as kept

    with Apart() as apart:
        if profile is None:
            for source in _sources(files):
                _look(source, apart, rows)
            return
        it = kept.load(profile)
        trials = _tried(_sources(files), apart, it, _contract(it.stream), rows)
    if json:
        data(_json(trials))
    else:
        for trial in trials:
            _show(trial, it)
    if not trials:
        raise ConfigError(f"no file is called {it.match!r}, as the profile says of its files")
    if any(t.refused for t in trials):
        raise typer.Exit(1)


def _sources(files: list[Path]) -> "Iterator[Source]":
    """Each file, open until the next one is asked for."""
    from headrace.uploads.plan import candidates

    found, passed = candidates(files)
    for words in passed:
        say(f"passed over: {words}")
    for it in found:
        with it.open() as source:
            yield source


def _contract(stream: str) -> "Contract":
    from headrace.contracts import files

    try:
        cfg = context.config()
    except ConfigError:  # no stack and no configuration: the contracts that ship are enough
        return files.find(stream)
    if stream not in cfg.streams:
        raise ConfigError(f"the profile's stream {stream!r} is not configured. There are: {', '.join(cfg.streams)}")
    return files.find(cfg.contract_of(stream), cfg.contracts)


def _step(bar: "Progress", task: "TaskID", done: int) -> None:
    bar.update(task, completed=done, count=done)


def _tried(
    sources: "Iterator[Source]", apart: "Apart", it: "Profile", contract: "Contract", rows: int
) -> "list[Trial]":
    from headrace.uploads.trial import attempt

    out: list[Trial] = []
    with progress("bytes") as bar:
        for source in sources:
            if not it.is_for(source.name):
                say(f"{source.name}: not one of the profile's files ({it.match})")
                continue
            task = bar.add_task(source.name, total=source.size, count=0)
            step = partial(_step, bar, task)
            out += attempt(source, it, contract, apart.open_file, rows, step)
    return out


def _look(source: "Source", apart: "Apart", rows: int) -> None:
    """What stands in a file, without a profile."""
    from headrace.readers import formats

    name = formats.recognise(source)
    reader = apart.open_file(source, {}, name)
    found = ", ".join(f"{key} {value!r}" for key, value in reader.dialect.items() if value)
    for number, table in enumerate(reader.tables):
        say(f"{source.name}: {formats.READERS[name].words}{f' ({found})' if found else ''}")
        for note in table.notes:
            say(f"  {note}")
        first = next(iter(reader.batches(number)), None)
        cells = first.rows.slice(0, rows).to_pylist() if first is not None else []
        heads = [f"{c.name or '(no name)'}{f' [{c.unit}]' if c.unit else ''}" for c in table.columns]
        show_cells(heads, [list(row.values()) for row in cells])


def _show(trial: "Trial", it: "Profile") -> None:
    said = [f"{trial.readings:,} readings"]
    said += [f"{n.total():,} {words}" for n, words in ((trial.refused, "refused"), (trial.left_out, "left out")) if n]
    where = f"{trial.name}{f', {trial.table.name}' if trial.table.name else ''}"
    say(f"{where}: {trial.rows:,} rows: {', '.join(said)}")
    for note in trial.table.notes:
        say(f"  {note}")
    if trial.begin is not None and trial.end is not None:
        devices = sorted(trial.devices)
        names = ", ".join(devices[:3]) + (f" and {len(devices) - 3:,} more" if len(devices) > 3 else "")
        say(f"  {names}: from {time_of(trial.begin)} to {time_of(trial.end)}")
    for counts, words in ((trial.refused, "would be dead letters"), (trial.left_out, "left out")):
        for kind, count in counts.most_common():
            example = trial.examples[kind]
            say(f"  {count:,} {words}: {kind}. The first: {example.where}: {printable(example.words)}")
    if trial.first:
        first_rows(trial, it)


def _json(trials: "list[Trial]") -> str:
    import orjson

    return orjson.dumps(
        [
            {
                "file": t.name,
                "table": t.table.name,
                "format": t.format,
                "dialect": t.dialect,
                "rows": t.rows,
                "readings": t.readings,
                "refused": t.refused,
                "left_out": t.left_out,
                "examples": {kind: it._asdict() for kind, it in t.examples.items()},
                "devices": sorted(t.devices),
                "begin": t.begin,
                "end": t.end,
                "first": t.first,
            }
            for t in trials
        ],
        default=str,
    ).decode()
