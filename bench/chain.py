"""Each side in turn on a backlog: the next on what the one before it has made."""

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from bench.figures import Line
from bench.measure import MB, held, usage, wait
from bench.sides import Bench, Side

SETTLE = 2.0  # seconds from ready until it counts as idle
LONGEST, SLOWEST = 180.0, 3_000.0  # seconds for a backlog; or readings a second, if that takes longer


def chain(bench: Bench, them: Sequence[Side], load_all: Callable[[], object], count: int) -> list[Line]:
    """Each side in turn on the same backlog, the next on what the one before it has made: rate, cost and memory."""
    lines: list[Line] = []
    longest = max(LONGEST, count / SLOWEST)
    with ExitStack() as rest:
        started = [(it, rest.enter_context(bench.running(it))) for it in them]
        time.sleep(SETTLE)
        before = [(it.done(), usage(process.pid)) for it, process in started]
        with ExitStack() as holding:
            holds = [ExitStack() for _ in started]
            for hold, (_, process) in zip(holds, started, strict=True):
                hold.enter_context(held(process.pid))
                holding.push(hold)
            load_all()
            for hold, (it, process), (had, at_start) in zip(holds, started, before, strict=True):
                begun = time.monotonic()
                hold.close()
                wait(f"{it.name}: {count:,} passed on", partial(_passed, it, process, had + count), longest, 0.05)
                took, at_end = time.monotonic() - begun, usage(process.pid)
                line = {"side": it.name, "rate": count / took, "cpu_us": (at_end.cpu - at_start.cpu) / count * 1e6}
                lines.append({**line, "rss_mb": at_end.rss / MB, "count": count})
                process.terminate()
                process.wait(30)
    return lines


def _passed(side: Side, process: "subprocess.Popen[bytes]", count: int) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"{side.name} ended in the middle, with exit code {process.returncode}")
    if not side.alive():
        raise RuntimeError(f"{side.name} has given up, as its log says")
    return side.done() >= count
