"""`headrace transform`: try a transform, or a calibration, before clean runs it."""

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.output import data, printable, say, show
from headrace.cli.transformderived import try_derived
from headrace.cli.transformshow import short, show_failures
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.config import Config
    from headrace.contracts.model import Contract
    from headrace.transforms.making import Making
    from headrace.transforms.run import Result
    from headrace.transforms.table import Columns

app = typer.Typer(help="Try a transform or a calibration on the rows of a stream before clean runs it.")

_LINES = 20  # of changes, and of failures
_TIMED_SECONDS = 0.2


class Source(StrEnum):
    """Which rows a transform is tried on."""

    LAKE = "lake"
    LETTERS = "letters"
    RAW = "raw"
    SAMPLE = "sample"


@app.callback()
def transforms() -> None:
    """Try a transform or a calibration on the rows of a stream before clean runs it."""


@app.command("test")
def try_out(
    stream: Annotated[str, typer.Option(help="Whose rows.", show_default=False)],
    source: Annotated[
        Source,
        typer.Option(
            "--from",
            help="sample: rows made from the contract, needs no server; lake: the newest day's, as clean left them; "
            "raw: the newest, as they came to clean; letters: the dead letters of an earlier transform, as they came "
            "to clean. Of a derived stream: those of the stream that it is made of; raw has them as clean left them.",
        ),
    ] = Source.SAMPLE,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A transform: a Python file, or an installed package.module:name. Or a calibration: a CSV file. "
            "Without it, what the stream has by the configuration of the last start.",
            show_default=False,
        ),
    ] = "",
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 1000,
    json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Run a transform or a calibration on rows and show each value before and after. Nothing is stored.

    Of a derived stream (`from`) it shows the rows that it makes of readings.

    Says how many rows it changes, on which it fails and why, whether it is row-wise, and how fast it is. Exit code 1
    when it fails on a row, or is not row-wise. A transform runs here, with your rights: look through what others have
    written.
    """
    from headrace.contracts.files import find

    cfg = context.config()
    if stream not in cfg.streams:
        raise ConfigError(f"--stream {stream}: there is none of that name. There are: {', '.join(cfg.streams)}")
    made_of, contract = cfg.streams[stream].source, find(cfg.contract_of(stream), cfg.contracts)
    if made_of:
        given = find(cfg.contract_of(made_of), cfg.contracts)
        columns = _columns(cfg, source, stream, made_of, given, rows)
        raise typer.Exit(0 if try_derived(cfg, stream, given, contract, columns, file, json=json) else 1)
    making = _making(cfg, stream, contract, file)
    columns = _columns(cfg, source, stream, stream, contract, rows)
    if source is Source.SAMPLE and making.calibration is not None:
        columns = {**columns, **making.calibration.sample(rows)}
    if source is Source.LAKE and cfg.streams[stream].calibration is not None:
        say(f"note: rows in the lake may be calibrated already; --from raw has those of {stream} as they came")
    tried = _Tried(making, contract, columns)
    if json:
        import orjson

        data(orjson.dumps(tried.as_json(), default=str).decode())
    else:
        tried.show()
    raise typer.Exit(0 if tried.good else 1)


def _columns(cfg: "Config", source: Source, stream: str, of: str, contract: "Contract", count: int) -> "Columns":
    """At most `count` readings of the stream `of`, with its contract: what is made into rows of `stream`."""
    from headrace.operate.rows import of_lake, of_letters, of_topic
    from headrace.protocol.names import clean_topic, raw_topic
    from headrace.transforms.sample import sample

    match source:
        case Source.SAMPLE:
            return sample(contract, count)
        case Source.LAKE:
            return of_lake(cfg, of, contract, count)
        case Source.RAW:
            return of_topic(cfg, raw_topic(of) if of == stream else clean_topic(of), contract, count)
        case Source.LETTERS:
            return of_letters(cfg, stream, contract, count)


def _making(cfg: "Config", stream: str, contract: "Contract", file: str) -> "Making":
    """What is to be tried. ConfigError if it can't be used, or there is nothing."""
    from headrace.contracts import calibration
    from headrace.transforms import code
    from headrace.transforms.calibrate import Calibration
    from headrace.transforms.making import Making
    from headrace.transforms.run import Transform

    is_table = file.endswith(".csv")
    table = Path(file) if is_table else None if file else cfg.streams[stream].calibration
    text = None if is_table else (file if ":" in file else Path(file)) if file else cfg.streams[stream].transform
    if table is None and text is None:
        raise ConfigError(f"streams.{stream} has neither a calibration nor a transform. Name a file to try")
    calibrating = calibration.read(table) if table is not None else None
    if calibrating is not None and (problems := list(calibration.misfits(calibrating, contract))):
        raise ConfigError("\n".join(problems))
    return Making(
        Calibration(calibrating) if calibrating is not None else None,
        Transform(code.read(text)) if text is not None else None,
    )


class _Tried:
    """What became of some rows."""

    def __init__(self, making: "Making", contract: "Contract", columns: "Columns") -> None:
        from headrace.transforms.table import fields_of

        self.making, self.columns = making, columns
        self.fields = fields_of(contract)
        self.count = len(columns["device_id"])
        self.result: Result = making.run(self.fields, columns)
        start, runs = time.process_time(), 0
        while not runs or time.process_time() - start < _TIMED_SECONDS:
            making.run(self.fields, columns)
            runs += 1
        self.micros = (time.process_time() - start) / runs / self.count * 1e6
        self.beside = ""
        try:
            making.check(self.fields, columns)
        except ConfigError as e:
            self.beside = str(e)

    @property
    def good(self) -> bool:
        """Whether clean may run it."""
        return not self.result.failures and not self.beside

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs: values as they are stored."""
        changes = [
            {"row": row, "field": name, "before": self.columns[name][row], "after": value}
            for row, found in sorted(self.result.changes.items())
            for name, value in found.items()
        ]
        failures = [{"row": row, **failure._asdict()} for row, failure in sorted(self.result.failures.items())]
        return {
            "version": self.making.version,
            "rows": self.count,
            "changed": len(self.result.changes),
            "failed": len(failures),
            "row_wise": not self.beside,
            "microseconds_a_row": round(self.micros, 2),
            "changes": changes,
            "failures": failures,
        }

    def show(self) -> None:
        """The same for people."""
        self._show_changes()
        show_failures(self.result.failures)
        changed, failed = len(self.result.changes), len(self.result.failures)
        say(
            f"{self.making.name}: {self.count:,} rows: {changed:,} changed, {failed:,} failed, "
            f"{self.count - changed - failed:,} as they were; {self.micros:.1f} us of CPU a row"
        )
        if self.making.transform is not None:
            say(self.beside or "it is row-wise: in halves, backwards and alone, the rows came out the same")
        if self.good:
            key = "transform: FILE" if self.making.transform is not None else "calibration: FILE"
            say(f"to use it: `{key}` below the stream in your configuration, then `headrace restart`")

    def _show_changes(self) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        found = [(row, name, new) for row, it in sorted(self.result.changes.items()) for name, new in it.items()]
        if not found:
            return
        table = Table("row", "device_id", "field", "before", "after", box=SIMPLE_HEAD, pad_edge=False)
        for row, name, new in found[:_LINES]:
            cells = (str(row), self.columns["device_id"][row], name, short(self.columns[name][row]), short(new))
            table.add_row(*(Text(printable(c)) for c in cells))
        show(table)
        if len(found) > _LINES:
            say(f"and {len(found) - _LINES:,} further values; --json shows all")
