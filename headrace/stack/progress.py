"""Progress of the downloads: bars on a terminal, lines elsewhere."""

import sys
import time

from headrace.stack import download
from headrace.stack.download import Part


def fetch_shown(wanted: list[Part]) -> None:
    """`download.fetch`, shown on stderr. Says nothing when everything is there."""
    missing = [p for p in wanted if not p.present]
    if not missing:
        return
    if sys.stderr.isatty():
        _with_bars(missing)
    else:
        _with_lines(missing)


def _owner(parts: list[Part]) -> dict[str, str]:
    return {file.name: part.name for part in parts for file in part.files}


def _with_bars(parts: list[Part]) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    owner = _owner(parts)
    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks = {p.name: progress.add_task(f"{p.name} {p.version}", total=p.size) for p in parts}
        download.fetch(parts, lambda name, count: progress.advance(tasks[owner[name]], count))


def _with_lines(parts: list[Part]) -> None:
    owner = _owner(parts)
    total, have, said = {p.name: p.size for p in parts}, dict.fromkeys((p.name for p in parts), 0), 0.0

    def report(name: str, count: int) -> None:
        nonlocal said
        have[owner[name]] += count
        if time.monotonic() - said > 5.0:
            said = time.monotonic()
            print("; ".join(f"{n}: {have[n] >> 20} of {total[n] >> 20} MB" for n in total), file=sys.stderr, flush=True)

    for part in parts:
        print(f"downloading {part.name} {part.version}, {part.size >> 20} MB, to {part.folder}", file=sys.stderr)
    download.fetch(parts, report)
