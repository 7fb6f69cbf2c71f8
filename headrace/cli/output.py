"""Data goes to standard output, words for people to standard error."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table


def say(text: str) -> None:
    """A message for a person, on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def data(text: str) -> None:
    """A line of data, on standard output."""
    sys.stdout.write(text + "\n")


def printable(text: str) -> str:
    """The text with control characters as escapes: what devices send must not control a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def flush() -> None:
    """Write out what was printed, now."""
    sys.stdout.flush()


@contextmanager
def waiting(after: float = 1.0) -> "Iterator[Callable[[str], None]]":
    """Gives a function to call with what is waited for just now, in words.

    On a terminal standard error shows the latest words, from `after` seconds on until the block ends; elsewhere it
    shows nothing.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    status = console.status("starting")
    timer = threading.Timer(after, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield status.update
    finally:
        timer.cancel()
        timer.join()
        status.stop()


def show(table: "Table") -> None:
    """A table on standard output, as wide as it has to be: a figure must not be cut to fit a terminal."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(file=sys.stdout)
    width = Measurement.get(console, console.options.update(max_width=100_000), table).maximum
    Console(file=sys.stdout, width=max(width, console.width)).print(table, soft_wrap=True)


@contextmanager
def progress(unit: str) -> "Iterator[Progress]":
    """A bar on standard error that counts `unit`s; shows nothing when that is not a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn(f"{{task.fields[count]:,}} {unit}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield bar
