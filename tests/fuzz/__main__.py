"""`make fuzz`: mutated payloads for every decoder, each decoder in a process of its own with a limit of memory.

Each payload is made from the seed, the case's name and its number: what is found can be looked at again, alone:

    python -m tests.fuzz --seed 7 --only cbor --number 1234
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from random import SystemRandom

from tests.fuzz.cases import cases
from tests.fuzz.judge import Tally, made, run

ROOT = Path(__file__).resolve().parents[2]
MOST_ADDRESSES = 512 << 20  # bytes that a process may ask for beside what it has when its decoder stands ready


def main() -> int:
    """Run them all, or one of them here; the exit code is 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10_000), help="of the payloads")
    parser.add_argument("--count", type=int, default=10_000, help="of payloads for each decoder")
    parser.add_argument("--minutes", type=float, default=30.0, help="after which what still runs is stopped, and fails")
    parser.add_argument("--only", default="", help="one case, as the table names it")
    parser.add_argument("--number", type=int, help="one payload of it: what it is, and what becomes of it")
    parser.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-fuzz-") as folder:
        if given.progress is not None:
            return _child(given.only, given.seed, given.count, Path(folder), given.progress)
        found = cases(Path(folder))
        if given.only and given.only not in found:
            parser.error(f"--only: there are {', '.join(found)}")
        if given.number is not None:
            case = found[given.only]
            tally = run(given.only, case, given.seed, range(given.number, given.number + 1))
            print(made(given.only, case, given.seed, given.number)[:2000], tally, sep="\n")
            return bool(tally.wrong)
        return _all([given.only] if given.only else list(found), given.seed, given.count, 60 * given.minutes)


def _all(names: list[str], seed: int, count: int, seconds: float) -> int:
    """Each in a process, as many at once as there are processors."""
    print(f"seed {seed}, {count:,} payloads a decoder", flush=True)
    print(f"{'decoder':20} {'readings':>9} {'letters':>9} {'slowest':>9} {'grown by':>9} {'seconds':>8}")
    until, bad = time.monotonic() + seconds, 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, (tally, took) in zip(names, pool.map(lambda n: _apart(n, seed, count, until), names), strict=True):
            print(
                f"{name:20} {tally.readings:9,} {tally.letters:9,} {tally.slowest:7.2f} s {tally.memory >> 20:5} MiB "
                f"{took:8.0f}",
                *tally.wrong[:5], sep="\n  ", flush=True,
            )  # fmt: skip
            bad += bool(tally.wrong)
    print(f"seed {seed}: {f'{bad} decoders fail' if bad else 'all is well'}")
    return bool(bad)


def _apart(name: str, seed: int, count: int, until: float) -> tuple[Tally, float]:
    """One case in a process of its own. A process that dies, or takes too long, was at work on a payload."""
    began = time.monotonic()
    with tempfile.NamedTemporaryFile(prefix="headrace-fuzz-") as progress:
        argv = [sys.executable, "-m", "tests.fuzz", "--only", name, "--seed", str(seed), "--count", str(count)]
        argv += ["--progress", progress.name]
        try:
            done = subprocess.run(
                argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=max(1.0, until - began)
            )
            told, why = done.stdout, f"the process ended with {done.returncode}: {done.stderr[-500:]}"
        except subprocess.TimeoutExpired:
            told, why = "", "the time is up"
        try:
            tally = Tally(**json.loads(told))
        except (ValueError, TypeError):
            tally = Tally(wrong=[f"payload {Path(progress.name).read_text() or 'none'}: {why}"])
    return tally, time.monotonic() - began


def _child(name: str, seed: int, count: int, folder: Path, progress: Path) -> int:
    case = cases(folder)[name]
    run(name, case, seed, range(-20, 0))  # what is imported late is
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_ADDRESSES,) * 2)
    with progress.open("r+b", buffering=0) as file:
        tally = run(name, case, seed, range(count), lambda number: os.pwrite(file.fileno(), b"%9d" % number, 0))
    tally.finish()
    print(json.dumps(asdict(tally)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
