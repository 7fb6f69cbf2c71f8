"""`headrace resample`."""

from enum import StrEnum
from typing import Annotated

import typer

from headrace.cli import context
from headrace.cli.output import data
from headrace.cli.query import Format, FormatOption, LimitOption, OutOption, check, nothing_stored, show


class Fill(StrEnum):
    """What stands where no reading is."""

    NONE = "none"
    PREVIOUS = "previous"
    LINEAR = "linear"


class Aggregate(StrEnum):
    """What becomes of several numbers."""

    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    LAST = "last"
    COUNT = "count"


def resample(  # noqa: PLR0913, PLR0917 - each is an option of the command
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The stream.")],
    every: Annotated[str, typer.Option(help="Length of a bucket: 500ms, 10s, 1m, 6h, 1d or 1w.")],
    device: Annotated[
        list[str] | None, typer.Option(help="Only this device. May be given several times.", show_default=False)
    ] = None,
    start: Annotated[
        str, typer.Option("--from", help="Readings from then on: 2026-01-31T12:00, UTC.", show_default=False)
    ] = "",
    end: Annotated[str, typer.Option("--to", help="Readings before then.", show_default=False)] = "",
    fields: Annotated[
        str,
        typer.Option(help="Only these, separated by commas.", show_default="all numbers, texts, booleans and times"),
    ] = "",
    fill: Annotated[Fill, typer.Option(help="What to put where a field has no reading.")] = Fill.NONE,
    max_gap: Annotated[
        str, typer.Option(help="Fill no gap that is longer, such as 5m.", show_default="any gap is filled")
    ] = "",
    aggregate: Annotated[Aggregate, typer.Option(help="What to make of several numbers.")] = Aggregate.MEAN,
    format_: FormatOption = Format.TABLE,
    out: OutOption = None,
    limit: LimitOption = 100,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL that does it, for `headrace query`.")] = False,
) -> None:
    """Show a stream's readings on a regular grid of time: a row for each device and bucket, and gaps filled.

    event_time is where the bucket begins (UTC). _readings says how many readings stand behind the row, _filled which of
    its fields were filled. Numbers are combined as --aggregate says, texts and booleans by the last; the mean of angles
    (unit deg or rad) is that of directions. Nothing is filled before a field's first reading or after its last.
    """
    from headrace.lake.resample import Wish, answered, statement

    names = tuple(name.strip() for name in fields.split(",") if name.strip())
    wish = Wish(
        stream, every, tuple(device or ()), start or None, end or None, names, fill.value, max_gap or None,
        aggregate.value,
    )  # fmt: skip
    check(format_, out)
    cfg = context.config()
    if sql:
        data(statement(cfg, wish))
        return
    with answered(cfg, wish, empty=nothing_stored) as answer:
        show(answer, format_, out, limit)
