"""`headrace tail`."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.output import data, flush, say

if TYPE_CHECKING:
    from headrace.operate.live import Record

_ITEMS = 4


def tail(
    stream: Annotated[str, typer.Argument(metavar="STREAM[.raw]", help="A stream, or its raw topic such as imu.raw.")],
    backlog: Annotated[int, typer.Option("-n", "--lines", min=0, help="First show this many of the latest.")] = 0,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Show new readings too, until Ctrl-C.")] = True,
    device: Annotated[str, typer.Option(help="Only readings of this device.", show_default=False)] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Show the readings of a stream as they come.

    A line is a reading: event time (UTC), device, then every field that has a value. To watch changes nothing: it
    commits no offsets and joins no group.
    """
    from headrace.operate.live import Reader, resolve

    cfg = context.config()
    topic = resolve(cfg, stream)
    try:
        with Reader(cfg, topic) as reader:
            for record in reader.backlog(backlog):
                _show(topic, record, device, as_json=json)
            flush()
            if follow:
                say(f"waiting for readings of {topic}; stop with Ctrl-C")
                for record in reader.follow():
                    _show(topic, record, device, as_json=json)
                    flush()
    except KeyboardInterrupt:
        return


def _show(topic: str, record: "Record", device: str, *, as_json: bool) -> None:
    if record.reading is None:
        say(f"{topic}/{record.partition}@{record.offset}: {record.problem}")
    elif not device or record.reading.get("device_id") == device:
        data(json_line(record) if as_json else line(record.reading))


def json_line(record: "Record") -> str:
    """The reading as JSON, with its place in Kafka; times in ISO 8601, bytes in hexadecimal."""
    import orjson

    place = {"_partition": record.partition, "_offset": record.offset}
    return orjson.dumps({**(record.reading or {}), **place}, option=orjson.OPT_UTC_Z, default=_plain).decode()


def line(reading: Any) -> str:
    """The reading in one line: time, device, then name=value; nulls are left out."""
    when = reading.get("event_time")
    stamp = (
        when.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds")[:-6] if isinstance(when, datetime) else when
    )
    rest = (f"{k}={_short(v)}" for k, v in reading.items() if k not in ("event_time", "device_id") and v is not None)
    return f"{stamp}  {reading.get('device_id')}  {' '.join(rest)}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and len(value) > _ITEMS:
        return f"[{', '.join(map(_short, value[:_ITEMS]))}, ... {len(value):,} items]"
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
