"""What many tests do: wait for something, and have a process for as long as a block lasts."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from headrace.stack import process

T = TypeVar("T")


def until(
    met: Callable[[], T],
    seconds: float,
    what: str | Callable[[], object],
    *,
    pause: float = 0.1,
    not_yet: tuple[type[Exception], ...] = (),
) -> T:
    """The first true answer of `met`; the test fails with `what` where there is none within so many seconds.

    An error of those in `not_yet` is no answer.
    """
    end = time.monotonic() + seconds
    while True:
        with suppress(*not_yet):
            if found := met():
                return found
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:.0f} s: {what() if callable(what) else what}")
        time.sleep(pause)


def stop_process(process: "subprocess.Popen[Any]", seconds: float) -> None:
    """Tell a process to end, and kill it if it is still there so many seconds later."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def running(argv: list[str], log: Path, *, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process, told to end when the block does, and killed 20 s later. Its output goes to `log`."""
    with log.open("wb") as output:
        started = process.launch(argv, os.environ, cwd or Path.cwd(), output)
    try:
        yield started
    finally:
        process.stop([process.Process(started.pid, process.start_time(started.pid))], 20.0)
        started.wait(10)
