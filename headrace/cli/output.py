"""Data goes to standard output, words for people to standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def say(text: str) -> None:
    """A message for a person, on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def data(text: str) -> None:
    """A line of data, on standard output."""
    sys.stdout.write(text + "\n")


def printable(text: str) -> str:
    """The text with its control characters as escapes: what devices send must not steer a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def flush() -> None:
    """Hand what was written to whoever reads it, now."""
    sys.stdout.flush()


@contextmanager
def progress(unit: str) -> "Iterator[Progress]":
    """A bar on standard error that counts `unit`s; nothing is shown where that is not a terminal."""
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
