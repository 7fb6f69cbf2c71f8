"""`headrace verify`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import context
from headrace.cli.output import data, printable, say

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.lake.flow import Watcher
    from headrace.lake.verify import Part, Report, Stream


_NAMED = 5  # runs of devices, without --devices


def verify(
    wait: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Wait until all that was published is stored, this long at most."),
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    partitions: Annotated[bool, typer.Option("--partitions", help="A line for each partition.")] = False,
    devices: Annotated[
        bool, typer.Option("--devices", help="All that devices numbered, also where no number is missing.")
    ] = False,
    strict_sequences: Annotated[
        bool,
        typer.Option("--strict-sequences", help="Exit code 1 also for a number that is missing or stored again."),
    ] = False,
) -> None:
    """The loss ledger: stored, gaps, duplicates, dead letters, and the numbers that devices gave their readings.

    Compares the offsets and counters that the services committed, the ledger in the lake, and every row's provenance.
    A gap is a reading that reached Kafka and is neither a row nor a counted repeat nor a dead letter; a duplicate is a
    row too many. Exit code 1 when there is one of either, or when --wait ran out.

    Where the contract has a field of the role sequence, numbers missing between a device's first and last are counted
    for each boot id. The device never sent them, or they were lost before the bridge acknowledged them, or they are
    dead letters: the lake can't tell which, so they are a warning and leave the exit code alone.
    """
    import orjson

    from headrace.lake import flow, sql
    from headrace.lake.rows import Source
    from headrace.lake.verify import verify as compare
    from headrace.store.open import open_store

    cfg = context.config()
    store = open_store(cfg.store)
    with flow.watch(cfg) as watcher:
        missing = _settle(cfg, watcher, wait) if wait else []
        for words in missing:
            say(f"not settled after {wait:g} s: {words}")
        with sql.connect(cfg, "") as lake, sql.explained(cfg):
            report = compare(cfg, watcher.snapshot(), store, Source(lake, cfg, store), every_device=devices)
    if json:
        out = {**report.to_json(), "settled": not missing if wait else None}
        data(orjson.dumps(out, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(report, partitions=partitions, devices=devices)
        _say_end(report, waited=bool(wait))
    if missing or not report.good or (strict_sequences and not report.numbers_good):
        raise typer.Exit(1)


def _settle(cfg: "Config", watcher: "Watcher", seconds: float) -> list[str]:
    from rich.console import Console

    from headrace.lake.settle import settle

    console = Console(stderr=True)
    if not console.is_terminal:
        return settle(cfg, watcher, seconds)
    with console.status("waiting until all is stored") as status:
        return settle(cfg, watcher, seconds, lambda words: status.update(f"waiting: {words}"))


def _show(report: "Report", *, partitions: bool, devices: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("stream", no_wrap=True)
    for name in ("stored", "gaps", "duplicates", "repeats", "dead\nletters", "missing\nnumbers", "storing", "lag"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, stream in report.streams.items():
        table.add_row(name, *_cells(stream.total(), f"{stream.dead_letters:,}", _missing(stream)))
        if partitions:
            for number, part in sorted(stream.partitions.items()):
                table.add_row(f"  /{number}", *_cells(part, "", ""))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table)
    if report.unrouted_dead_letters:
        say(f"{report.unrouted_dead_letters:,} dead letters are of no stream, as no route matched: headrace dlq list")
    if report.other_dead_letters:
        say(
            f"{sum(report.other_dead_letters.values()):,} dead letters are of streams that this configuration does not "
            f"have, or does not archive: {', '.join(report.other_dead_letters)}"
        )
    for stream in report.streams.values():
        for words in stream.problems:
            say(words)
        if stream.dead_letters_stored:
            say(f"{stream.dead_letters_stored:,} dead letters are rows too, and count as rows")
        if stream.dead_letters_replayed:
            say(f"{stream.dead_letters_replayed:,} dead letters were sent again, and count as what they became")
    _say_devices(report, every=devices)


def _say_end(report: "Report", *, waited: bool) -> None:
    if report.under_way:
        so_far = "; so far no gap, no duplicate" if report.good else ""
        remedy = "See `headrace status`" if waited else "To wait for them: --wait 60"
        say(f"{report.under_way:,} readings are still on their way to the lake{so_far}. {remedy}")
    elif report.good:
        say("no gap, no duplicate")


def _say_devices(report: "Report", *, every: bool) -> None:
    for name, stream in report.streams.items():
        found = stream.devices
        if found is None:
            continue
        runs = found.listed if every else found.listed[:_NAMED]
        for run in runs:
            say(f"{name}: {printable(run.words())}")
        if not every and len(runs) < found.wrong:
            say(f"{name}: and {found.wrong - len(runs):,} more: --devices")
    if any(s.devices is not None and s.devices.missing for s in report.streams.values()):
        say("missing numbers: never sent, or lost before the bridge acknowledged them, or in the dead letters")


def _missing(stream: "Stream") -> str:
    return f"{stream.devices.missing:,}" if stream.devices is not None else ""


def _cells(part: "Part", dead_letters: str, missing: str) -> list[str]:
    numbers = (part.stored, part.gaps, part.duplicates, part.repeats_dropped)
    return [
        *(f"{n:,}" for n in numbers),
        dead_letters,
        missing,
        "a batch" if part.open_intents else "",
        f"{part.lag:,}",
    ]
