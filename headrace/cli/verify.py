"""`headrace verify`."""

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import context
from headrace.cli.encryption import look
from headrace.cli.output import data, printable, progress, say, show, waiting

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.lake.verify import Part, Report, Stream
    from headrace.store.base import ObjectStore


_NAMED = 5  # runs of devices, without --devices


def verify(
    wait: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="First wait until all readings are stored, at most this long."),
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    partitions: Annotated[bool, typer.Option("--partitions", help="Show a line for each partition.")] = False,
    devices: Annotated[
        bool,
        typer.Option("--devices", help="List all devices with numbers, not only those where one is missing."),
    ] = False,
    strict_sequences: Annotated[
        bool,
        typer.Option("--strict-sequences", help="Exit code 1 also when a number is missing or stored twice."),
    ] = False,
    encryption: Annotated[
        bool,
        typer.Option("--encryption", help="Check instead that every object in the store is encrypted at rest."),
    ] = False,
) -> None:
    """Check that every reading is in the lake exactly once: count rows, gaps, duplicates and dead letters.

    Compares the offsets and counters that the services committed, the ledger in the lake, and where each row says that
    it came from. A gap is a reading that reached Kafka and is not a row, a counted repeat or a dead letter; a duplicate
    is a second row of one reading. Exit code 1 when there is a gap or a duplicate, or when not all was stored within
    --wait.

    Where the contract has a field of the role sequence, also counts the numbers that are missing between a device's
    first and last, for each boot id. Such a reading was never sent, or was lost before the bridge acknowledged it, or
    is a dead letter. The lake can't tell which, so it is a warning and does not change the exit code.

    With --encryption asks the store of every object in the bucket how it is encrypted, and does nothing else. Exit code
    1 when one is not, or not of the kind that store.sse asks for. `headrace archive encrypt` encrypts these.
    """
    import orjson

    from headrace.lake import flow, remote, sql
    from headrace.lake.rows import MEMORY, Source
    from headrace.lake.verify import compare
    from headrace.lake.waiting import wait_stored
    from headrace.store.open import open_store

    cfg = context.config()
    store = open_store(cfg.store)
    if encryption:
        _encryption(cfg, store, json=json)
        return
    with waiting() as notify, flow.watch(cfg) as watcher:
        missing = wait_stored(cfg, watcher, wait, lambda words: notify(f"waiting: {words}")) if wait else []
        for words in missing:
            say(f"not all is stored after {wait:g} s: {words}")
        notify(f"opening the lake at {remote.where(cfg.store)}")
        with sql.connect(cfg, "", memory=MEMORY) as lake, sql.explained(cfg):
            notify(f"asking Kafka at {cfg.kafka.bootstrap} how far clean and archive are")
            found = watcher.snapshot()
            report = compare(cfg, found, store, Source(lake, cfg, store), every_device=devices, notify=notify)
    if json:
        out = {**report.to_json(), "all_stored": not missing if wait else None}
        data(orjson.dumps(out, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(report, partitions=partitions, devices=devices)
        _say_end(report, waited=bool(wait))
    if missing or not report.good or (strict_sequences and not report.numbers_good):
        raise typer.Exit(1)


def _encryption(cfg: "Config", store: "ObjectStore", *, json: bool) -> None:
    import orjson

    from headrace.lake import encryption

    asked = encryption.told_by(store, cfg.store)
    with progress("objects") as bar:
        report = look(bar, store, asked, cfg.store)
    if json:
        data(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        for (kind, key), count in sorted(report.by_key.items()):
            data(f"{count:,} objects encrypted: {kind}{f', key {key}' if key else ''}")
        for name, kind in report.wrong.items():
            data(f"{printable(name)}: {kind or 'not encrypted'}")
        if report.wrong:
            count = len(report.wrong)
            say(f"{count:,} of {report.objects:,} objects are not encrypted so. `headrace archive encrypt` does it")
        else:
            say(f"all {report.objects:,} objects are encrypted")
    if report.wrong:
        raise typer.Exit(1)


def _show(report: "Report", *, partitions: bool, devices: bool) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("stream", no_wrap=True)
    for name in ("stored", "gaps", "dupli-\ncates", "repeats", "dead\nletters", "missing\nnumbers", "storing", "lag"):
        table.add_column(name, justify="right", no_wrap=True, vertical="bottom")
    for name, stream in report.streams.items():
        table.add_row(name, *_cells(stream.total(), f"{stream.dead_letters:,}", _missing(stream)))
        if partitions:
            for number, part in sorted(stream.partitions.items()):
                table.add_row(f"  /{number}", *_cells(part, "", ""))
    show(table)
    if report.unrouted_dead_letters:
        say(f"{report.unrouted_dead_letters:,} dead letters matched no route. `headrace dlq list` shows them")
    if report.other_dead_letters:
        say(
            f"{sum(report.other_dead_letters.values()):,} dead letters belong to streams that this configuration does "
            f"not have or does not archive: {', '.join(report.other_dead_letters)}"
        )
    for stream in report.streams.values():
        for words in stream.problems:
            say(words)
        if stream.dead_letters_stored:
            say(f"{stream.dead_letters_stored:,} dead letters are rows too, and count as rows")
        if stream.dead_letters_redriven:
            say(f"{stream.dead_letters_redriven:,} dead letters were sent again, and count as what they became")
        if stream.dead_letters_dropped:
            say(f"{stream.dead_letters_dropped:,} dead letters were dropped: `headrace dlq list --all` has them")
    _say_devices(report, every=devices)


def _say_end(report: "Report", *, waited: bool) -> None:
    if report.under_way:
        so_far = "; so far no gap, no duplicate" if report.good else ""
        remedy = "See `headrace status`" if waited else "To wait for them: --wait 60"
        say(f"{report.under_way:,} readings are still on their way to the lake{so_far}. {remedy}")
    elif report.good:
        say("no gap, no duplicate")
    if not report.good:
        say("the lines above say where; docs/runbooks/headrace-readings-lost.md says what to do")


def _say_devices(report: "Report", *, every: bool) -> None:
    for name, stream in report.streams.items():
        found = stream.devices
        if found is None:
            continue
        runs = found.listed if every else found.listed[:_NAMED]
        for run in runs:
            say(f"{name}: {printable(run.words())}")
        if not every and len(runs) < found.wrong:
            say(f"{name}: and {found.wrong - len(runs):,} more; --devices lists all")
    if any(s.devices is not None and s.devices.missing for s in report.streams.values()):
        say("a missing number was never sent, or lost before the bridge acknowledged it, or is a dead letter")


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
