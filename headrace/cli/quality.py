"""`headrace quality`."""

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import context
from headrace.cli.output import data, printable, say, show
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.lake.quality import Deed, Quality

_EMPTY = (
    "nothing of {streams} is stored in the lake yet, and nothing was refused. `headrace simulate` or `headrace replay` "
    "sends readings; the archive stores a batch when it is full, old enough or idle"
)


def quality(
    streams: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STREAM]...", help="All streams when none is named.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="Only this device.", show_default=False)] = "",
    since: Annotated[str, typer.Option(help="From this day on, such as 2026-01-31 (UTC).", show_default=False)] = "",
    until: Annotated[str, typer.Option(help="To this day, and with it.", show_default=False)] = "",
    picture: Annotated[
        Path | None, typer.Option(help="Also draw each rule's share by day, into this SVG file.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Lines to show, at most: the largest.")] = 100,
) -> None:
    """What each rule did, by stream, device and day: how many readings it rejected, nulled, clamped or flagged.

    From the notes in _quality of the rows in the lake, and from the dead letters. The day is that of the reading's
    event_time; of a rejected reading, the day on which it was refused. What the bridge or the archive refused stands
    with its reason in place of a rule.
    """
    from headrace.lake.quality import Scope
    from headrace.lake.quality import quality as ask

    cfg = context.config()
    wanted = tuple(dict.fromkeys(streams or cfg.streams))
    found = ask(cfg, Scope(wanted, device, _day("--since", since), _day("--until", until)))
    if found.problem:
        say(f"without the dead letters, so without what was rejected: {found.problem}")
    if picture is not None:
        from headrace.cli.qualitypicture import svg
        from headrace.lake.quality import by_day

        picture.write_text(svg(by_day(found)), encoding="utf-8")
        say(f"drawn: {picture}")
    if json:
        data(_json(found))
    elif not found.readings:
        say(_EMPTY.format(streams=", ".join(wanted) or "any stream"))
    elif not found.deeds:
        say(f"{found.readings.total():,} readings, and no rule had anything to do")
    else:
        _table(found, limit)


def _day(option: str, text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        raise ConfigError(f"{option} {text}: write a day as 2026-01-31") from None


def _json(found: "Quality") -> str:
    import orjson

    rows = [{**d._asdict(), "readings": n, "of": found.readings[d[:3]]} for d, n in _sorted(found)]  # type: ignore[index]
    return orjson.dumps({"readings": found.readings.total(), "problem": found.problem, "rules": rows}).decode()


def _table(found: "Quality", limit: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("stream", "device", "day", "field", "rule", "action"):
        table.add_column(name)
    table.add_column("readings", justify="right")
    table.add_column("share", justify="right")
    for deed, count in _sorted(found)[:limit]:
        cells = (*(printable(str(part)) or "-" for part in deed), f"{count:,}", f"{found.share(deed):.2%}")
        table.add_row(*map(Text, cells))
    show(table)
    if len(found.deeds) > limit:
        say(f"these are the largest {limit} of {len(found.deeds):,} lines; --limit shows more, --json all")


def _sorted(found: "Quality") -> "list[tuple[Deed, int]]":
    return sorted(found.deeds.items(), key=lambda it: (-it[1], it[0]))
