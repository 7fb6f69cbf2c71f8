"""`headrace replay`: a recording played over MQTT as its device would send it."""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.output import data, progress, say
from headrace.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from headrace.recordings.outcome import Follower, Outcome
    from headrace.recordings.replay import Report
    from headrace.recordings.table import Table

_PATIENCE_SECONDS = 30.0


def _pairs(name: str, metavar: str, help: str) -> Any:  # noqa: A002 - typer's own name
    """An option that takes NAME=VALUE pairs."""
    return typer.Option(name, metavar=metavar, help=help, show_default=False)


def replay(  # noqa: PLR0913 - each is an option of the command
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="CSV and other text in columns, also gzipped (.gz).")
    ],
    *,
    stream: Annotated[str, typer.Option(help="The stream whose topic the readings go to.")],
    device: Annotated[
        str,
        typer.Option(
            help="Device id; {stem} is the file's name without suffix. Default: the column device_id, else {stem}.",
            show_default=False,
        ),
    ] = "",
    device_column: Annotated[str, typer.Option(help="Column with the device id.", show_default=False)] = "",
    map_: Annotated[
        list[str] | None,
        _pairs(
            "--map",
            "COLUMN=FIELD,...",
            "Which column is which field. Not needed where both have one name.",
        ),
    ] = None,
    time: Annotated[
        str,
        typer.Option(
            metavar="COLUMN[+COLUMN...]:FORMAT",
            help="The event time: s, ms, us, ns (since 1970), iso, or a strptime format. A space joins columns.",
            show_default=False,
        ),
    ] = "",
    time_zone: Annotated[str, typer.Option(help="Zone of times without a zone, such as Europe/Rome.")] = "UTC",
    set_: Annotated[
        list[str] | None,
        _pairs("--set", "FIELD=VALUE,...", "A value for every row: of a field, or of a part of the topic."),
    ] = None,
    speed: Annotated[
        str, typer.Option(metavar="max|N", help="As fast as a device may, or N times the recorded speed.")
    ] = "max",
    topic: Annotated[
        str,
        typer.Option(
            help="MQTT topic instead of that of the stream's first route. May contain {device_id}.", show_default=False
        ),
    ] = "",
    delimiter: Annotated[
        str, typer.Option(help="A character, or tab, blanks. Default: found in the file.", show_default=False)
    ] = "",
    encoding: Annotated[
        str, typer.Option(help="The files' encoding. Default: found in the file.", show_default=False)
    ] = "",
    header: Annotated[
        int, typer.Option(help="The line that names the columns. Default: found in the file.", show_default=False)
    ] = 0,
    decimal_comma: Annotated[
        bool, typer.Option("--decimal-comma", help="Numbers are written as 1,5. Default: found in the file.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait/--no-wait", help="Wait until the readings are cleaned, and say what became of them."),
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Recorded readings (CSV) over MQTT, as if from devices.

    Each row becomes one JSON message at QoS 1. Numbers keep the digits of the file. Empty cells are left out, and so
    are columns that are no field of the contract: these are named. A row that is sent again is dropped as a repeat
    when no more than clean.lookback readings of its partition came in between; later it is stored twice.

    Each device publishes as itself, by a connection of its own: it is in the registry, with the tag `simulated`. It
    sends less in a minute than hub.behaviour lets a device send.

    Example: headrace replay walk.csv --stream imu --device watch-01 --map x_acc=ax,y_acc=ay,z_acc=az
    --time timestamp:ms
    """
    from headrace.recordings.mapping import Options, pairs
    from headrace.recordings.replay import passwords, plan, send

    pace = _speed(speed)
    if pace is not None and not time:
        raise ConfigError(f"--speed {speed} needs the event time: add --time COLUMN:FORMAT")
    cfg = context.config()
    options = Options(
        columns=pairs(map_ or (), "--map"),
        time=time,
        zone=_zone(time_zone),
        device=device,
        device_column=device_column,
        constants=pairs(set_ or (), "--set"),
        decimal_comma=decimal_comma,
    )
    dialect = {"delimiter": delimiter.replace("\\t", "tab"), "encoding": encoding, "header": str(header or "")}
    plans = plan(cfg, files, stream, options, topic=topic, dialect={k: v for k, v in dialect.items() if v})
    _say_notes([table for table, _ in plans])
    _say_columns(stream, Counter(name for _, how in plans for name in how.left_out), len(plans))
    logins = passwords(cfg, plans, stream)
    with ExitStack() as stack:
        follower = _follow(stack, cfg, stream) if wait else None
        with progress("readings") as bar:
            task = bar.add_task("sending", total=sum(table.size for table, _ in plans), count=0)
            report = asyncio.run(
                send(
                    cfg,
                    plans,
                    logins,
                    client_id=f"headrace-replay-{os.getpid()}-{os.urandom(3).hex()}",
                    speed=pace,
                    notify=say,
                    progress=lambda done, rows: bar.update(task, completed=done, count=rows),
                )
            )
        _say_report(report)
        outcome = None
        if follower is not None:
            with progress("readings") as bar:
                task = bar.add_task("cleaning", total=report.sent, count=0)
                outcome = follower.wait_cleaned(
                    report.sent - sum(report.refused.values()),
                    report.topics,
                    patience=_PATIENCE_SECONDS,
                    progress=lambda done: bar.update(task, completed=done, count=done),
                )
            _say_outcome(report, outcome)
    if json:
        _print_json(report, outcome)
    if report.refused or (outcome is not None and not outcome.finished):
        raise typer.Exit(1)


def _follow(stack: ExitStack, cfg: Any, stream: str) -> "Follower | None":
    """What follows the stream from now on; None, with a message, when Kafka is away."""
    from headrace.recordings.outcome import follow

    try:
        return stack.enter_context(follow(cfg, stream))
    except TransientError as e:
        say(f"what becomes of the readings can't be followed: {e}")
        return None


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        value = float(text.lower().removesuffix("x"))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"--speed {text}: write max, or a number such as 1 or 10")
    return value


def _zone(name: str) -> Any:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"--time-zone {name}: no such zone; write one such as UTC or Europe/Rome") from None


def _say_notes(tables: "Sequence[Table]") -> None:
    """What was passed over or guessed, each word once."""
    found = Counter(note for table in tables for note in table.notes)
    for note, files in found.items():
        first = next(table.path for table in tables if note in table.notes)
        say(f"{first}{f' and {files - 1} other files' if files > 1 else ''}: {note}")


def _say_columns(stream: str, names: Counter[str], files: int) -> None:
    if names:
        many = "" if files == 1 else f" (in {max(names.values())} of {files} files)"
        say(f"left out columns that are no field of {stream}{many}: {', '.join(names)}")


def _say_report(report: "Report") -> None:
    from headrace.simulation.device import complaints

    rate = report.sent / report.seconds if report.seconds else 0
    say(f"sent {report.sent:,} readings in {report.seconds:.1f} s ({rate:,.0f}/s), each acknowledged by the broker")
    for reason, n in report.left_out.most_common():
        say(f"left out {n:,} rows: {reason} (first: {report.first[reason]})")
    if report.resent:
        say(f"sent {report.resent:,} again after a lost connection; copies are dropped")
    if report.equal:
        say(
            f"{report.equal:,} rows are equal to an earlier row in every digit (first: {report.first_equal}): "
            "equal rows are one reading"
        )
    for words in complaints(report.unheard, report.refused):
        say(words)


def _say_outcome(report: "Report", it: "Outcome") -> None:
    if not it.finished:
        say(
            f"not finished: of {report.sent:,} readings {it.arrived:,} reached Kafka, {it.counts.total:,} are clean, "
            f"then nothing changed for {_PATIENCE_SECONDS:.0f} s. See `headrace status`"
        )
    words = [f"{it.counts.kept + it.counts.changed:,} taken"]
    if it.counts.changed:
        words.append(f"{it.counts.changed:,} of them with a quality note")
    words.append(f"{it.counts.repeated:,} dropped as repeats")
    bad = it.counts.rejected + it.refused
    words.append(f"{bad:,} to the dead letters" + (" (see `headrace dlq list`)" if bad else ""))
    say(", ".join(words))


def _print_json(report: "Report", outcome: "Outcome | None") -> None:
    import orjson

    found: dict[str, Any] = {
        "rows": report.rows,
        "sent": report.sent,
        "left_out": dict(report.left_out),
        "equal_rows": report.equal,
        "resent": report.resent,
        "refused": sum(report.refused.values()),
        "seconds": round(report.seconds, 3),
    }
    if outcome is not None:
        found |= {
            "finished": outcome.finished,
            "arrived": outcome.arrived,
            "kept": outcome.counts.kept,
            "changed": outcome.counts.changed,
            "repeated": outcome.counts.repeated,
            "dead_letters": outcome.counts.rejected + outcome.refused,
        }
    data(orjson.dumps(found).decode())
