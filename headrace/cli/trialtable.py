"""What a trial of a file shows: its first rows."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from headrace.cli.output import printable, show

if TYPE_CHECKING:
    from headrace.uploads.profile import Profile
    from headrace.uploads.trial import Trial


def first_rows(trial: "Trial", it: "Profile") -> None:
    """The first readings as they would be stored, with their times in the profile's zone too."""
    from headrace.readers.celltimes import EPOCH
    from headrace.uploads.localtimes import zone_of

    if not trial.first:
        return
    zone = zone_of(it.time.zone) if it.time.zone else None
    names = [
        "event_time (UTC)",
        *([f"in {it.time.zone}"] if zone else []),
        *(n for n in trial.first[0] if n != "event_time"),
    ]
    rows = []
    for reading in trial.first:
        when = EPOCH + timedelta(microseconds=reading.pop("event_time"))
        rows.append([_text(when), *([_text(when.astimezone(zone))] if zone else []), *reading.values()])
    show_cells(names, rows)


def show_cells(names: list[str], rows: list[list[Any]]) -> None:
    """Cells of a file, on standard output."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    it = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        it.add_column(Text(printable(name)))
    for row in rows:
        it.add_row(*(Text("" if cell is None else printable(str(cell))[:60]) for cell in row))
    show(it)


def time_of(micros: int) -> str:
    """Microseconds since 1970 UTC as people read it."""
    from headrace.readers.celltimes import EPOCH

    return _text(EPOCH + timedelta(microseconds=micros)) + "Z"


def _text(when: datetime) -> str:
    return when.replace(tzinfo=None).isoformat(" ")
