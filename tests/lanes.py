"""`make test`: tests that do not disturb each other run at the same time.

A test's lane is where it runs (`lane_of`). Each lane is a pytest of its own. As many run at once as the machine has
cores, and two more, since they wait for servers for much of their time; the next begins when one has ended. They share
a stack, which the first that needs it starts. Tests without a lane may stop or freeze servers: they have another stack
to themselves. What is given on the command line goes to every lane.

A few tests that fail are run once more when all lanes have ended: on a busy machine a server may be too slow for them.
Those that pass then are named, and do not count as failed.
"""

import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stack import ROOT, Stack

SHARED = "_TEST_STACK"  # the folder of the stack that the lanes share
UP, FAILED = "up", "failed"  # in it: the stack has started; why it did not, each time
UNITS, FREE, ALONE = ("units-1", "units-2"), "free", "alone"
LANES = {  # they begin in this order
    ALONE: "tests that stop or freeze servers",
    "own-1": "streams of the tests' own, first half",
    "own-2": "streams of the tests' own, second half",
    UNITS[0]: "units, first half",
    "streams": "the stack's own streams",
    FREE: "servers of the tests' own",
    UNITS[1]: "units, second half",
}
AT_ONCE = (os.cpu_count() or 2) + 2
# They need processor time; the others wait for servers for most of theirs.
_BACKGROUND = dict.fromkeys(UNITS, ("nice", "-n", "5"))
FAILED_TESTS, NO_TESTS = 1, 5  # pytest's exit codes
MOST_AGAIN = 10  # tests that are run once more; where more have failed something is wrong
MOST_SECONDS = 5400.0  # for all lanes; what then still runs is ended, and counts as failed
_EVERY_SECONDS = 60.0
_SUMMARY = re.compile(r"^=* ?(\d+ [a-z]+(?:, \d+ [a-z]+)*|no tests ran) in [\d.]+s", re.MULTILINE)
_PERCENT = re.compile(r"\[ *(\d+)%\]")


def lane_of(item: pytest.Item) -> str:
    """The lane of a test: as marked with `lane("...")`; else one of `units`, by its file's name; `alone` where it needs
    the stack; `free` where not.
    """
    mark = item.get_closest_marker("lane")
    if mark is not None:
        name: str = mark.args[0]
        if name not in LANES:
            raise pytest.UsageError(f"{item.nodeid}: no lane {name}, only {', '.join(LANES)}")
        return name
    if item.path.is_relative_to(ROOT / "tests/unit"):
        return UNITS[zlib.crc32(item.path.name.encode()) % len(UNITS)]
    return ALONE if "stack" in getattr(item, "fixturenames", ()) else FREE


@contextmanager
def shared(folder: Path) -> Iterator[Stack]:
    """The stack in `folder`, started by whichever lane needs it first. `main` stops it.

    Where it does not start, it is tried once more; all lanes say why it failed.
    """
    it = Stack(folder / "stack")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not it.state.exists():
            _up(it, folder / FAILED)
            (folder / UP).touch()
    if not (folder / UP).exists():
        pytest.fail(f"the stack of all lanes did not start:\n{(folder / FAILED).read_text()}", pytrace=False)
    yield it


def _up(it: Stack, failed: Path) -> None:
    for last in (False, True):
        try:
            it.up()
        except pytest.fail.Exception as e:
            with failed.open("a") as file:
                file.write(f"{e}\n")
            if last:
                raise
        else:
            return


@dataclass
class Lane:
    """A lane under way. `took`: seconds, once it has ended."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    began: float
    took: float | None = None
    again: int | None = None  # pytest's exit code for the tests that were run once more

    @property
    def code(self) -> int:
        """0 where no test failed, or those that did passed the second time. None may have been selected."""
        found = self.process.wait() if self.again is None else self.again
        return 0 if found == NO_TESTS else found

    @property
    def failed(self) -> list[str]:
        """What pytest says of each test that failed."""
        return [line for line in self.text.splitlines() if line.startswith(("FAILED ", "ERROR "))]

    @property
    def text(self) -> str:
        """What pytest has printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def result(self) -> str:
        """pytest's last words: "97 passed, 5 skipped". Tests of other lanes are not mentioned."""
        return summary(self.text) or f"pytest ended with {self.process.returncode}"

    @property
    def percent(self) -> str:
        """How far it is."""
        found = _PERCENT.findall(self.text)
        return f"{found[-1]} %" if found else "-"


def summary(text: str) -> str:
    """What pytest printed last about the tests that it ran; empty where it did not come to that."""
    found = _SUMMARY.findall(text)
    if not found:
        return ""
    return ", ".join(part for part in found[-1].split(", ") if not part.endswith("deselected")) or "no tests"


def main(args: list[str]) -> int:
    """Run every lane, with `args` for pytest; print what failed, what was skipped and why, and a table of the lanes."""
    if os.environ.get("STACK") == "docker":
        return subprocess.run([sys.executable, "-m", "pytest", "-rs", *args], cwd=ROOT, check=False).returncode
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the stack is stopped in any case
    with tempfile.TemporaryDirectory(prefix="headrace-tests-") as name:
        folder = Path(name)
        lanes: list[Lane] = []
        shown = "it was not needed"
        try:
            _run(lanes, folder, args)
            _again(lanes, folder, args)
        finally:
            for lane in lanes:
                if lane.process.poll() is None:
                    _end(lane.process)
            if (folder / "stack").exists():
                shown = Stack(folder / "stack").run("status", ok=False).stdout
                Stack(folder / "stack").down()
        _report(lanes)
        if any(lane.code for lane in lanes):
            print(f"the stack of all lanes at the end:\n{shown}")
        if (folder / FAILED).exists():
            print(f"the stack of all lanes did not start at the first try:\n{(folder / FAILED).read_text()}")
        return max(abs(lane.code) for lane in lanes)


def _named(args: list[str]) -> list[Path]:
    """The files and folders of tests among pytest's arguments."""
    return [path for arg in args if (path := Path(ROOT, arg.partition("::")[0])).exists()]


def _only_units(args: list[str]) -> bool:
    """Whether all files and folders among pytest's arguments are of unit tests, and there is one."""
    paths = _named(args)
    return bool(paths) and all(path.is_relative_to(ROOT / "tests/unit") for path in paths)


def _again(lanes: list[Lane], folder: Path, args: list[str]) -> None:
    """Run the tests once more that failed, lane after lane, if they are few."""
    if sum(len(lane.failed) for lane in lanes) > MOST_AGAIN:
        return
    for lane in lanes:
        if lane.code == FAILED_TESTS and lane.failed:
            _say(f"{LANES[lane.name]}: {len(lane.failed)} failed, once more")
            second = _start(lane.name, folder, [*args, "--last-failed", "--last-failed-no-failures=none"], ".again")
            lane.again = second.process.wait()
            words = "passed the second time" if lane.again == 0 else "failed again"
            print(*(f"{words}: {line}" for line in lane.failed), sep="\n", flush=True)
            if lane.again:
                print(second.text, flush=True)


def _start(name: str, folder: Path, args: list[str], suffix: str = "") -> Lane:
    log = folder / f"{name}{suffix}.log"
    if not _named(args):
        folders = ["tests/unit"] if name in UNITS else ["tests/integration", "tests/faults", "tests/security"]
        args = [*folders, *args]  # no lane need read the tests of another
    env = os.environ if name == ALONE else {**os.environ, SHARED: str(folder)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*_BACKGROUND.get(name, ()), sys.executable, "-m", "pytest", "--lane", name, "-rsfE", "--color=no",
             "-o", f"cache_dir={folder / name}.cache", *args],
            cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    return Lane(name, process, log, time.monotonic())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have pytest stop what it started; one that does not come to it is killed, so that the stack is stopped."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _run(lanes: list[Lane], folder: Path, args: list[str]) -> None:
    """Start all, each as soon as there is room for it, and add them to `lanes`; until all have ended.

    Says when one has, and now and then how far the others are.
    """
    waiting = list(UNITS if _only_units(args) else LANES)
    began = said = time.monotonic()
    while (running := [lane for lane in lanes if lane.took is None]) or waiting:
        while waiting and len(running) < AT_ONCE:
            running.append(_start(waiting.pop(0), folder, args))
            lanes.append(running[-1])
        if time.monotonic() - began > MOST_SECONDS:
            _say(f"not done after {MOST_SECONDS:.0f} s: ended. Not begun: {', '.join(waiting) or 'none'}")
            waiting.clear()
            for lane in running:
                _end(lane.process)
        for lane in running:
            if lane.process.poll() is not None:
                lane.took = time.monotonic() - lane.began
                _say(f"{LANES[lane.name]}: {lane.result}, {lane.took:.0f} s")
                if lane.code:
                    print(lane.text, flush=True)
        if time.monotonic() - said > _EVERY_SECONDS:
            said = time.monotonic()
            _say(", ".join(f"{lane.name} {lane.percent}" for lane in running if lane.took is None))
        time.sleep(0.2)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def _report(lanes: list[Lane]) -> None:
    skipped = [line for lane in lanes for line in lane.text.splitlines() if line.startswith("SKIPPED ")]
    print(*skipped, sep="\n")
    width = max(len(text) for text in LANES.values())
    for lane in lanes:
        print(f"{LANES[lane.name]:{width}}  {lane.took or 0:5.0f} s  {lane.result}")
    for lane in lanes:
        if lane.code:
            print(*lane.failed, sep="\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
