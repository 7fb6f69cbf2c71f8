"""Results, appended one by one to a file of JSON lines, and the table made of them."""

import hashlib
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from tests.faults.fault import Fault
from tests.faults.run import Outcome
from tests.faults.world import ROOT

FILE = Path(__file__).parent / "results.jsonl"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- table: begin (make faults writes it) -->", "<!-- table: end -->"
ORACLE = ("audit", "evidence", "fleet", "readings", "run")
# What a reading passes through, and what judges it: a result is stale once any of that has changed.
DATA_PATH = (
    "bridge/*.py", "processors/**/*.py", "headrace/*.py", "headrace/config/*.py", "headrace/store/*.py",
    "headrace/contracts/*.py",
    "headrace/lake/layout.py", "headrace/lake/ledger.py", "headrace/stack/mosquitto.py", "headrace/stack/kafka.py",
    "headrace/stack/store.py", "headrace/tools/device.py", "headrace/tools/client.py", "headrace/tools/untold.py",
    "schemas/*.avsc", "requirements.lock", *(f"tests/faults/{n}.py" for n in ORACLE),
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A line of the file."""

    fault: str
    seed: int
    commit: str
    path: str  # digest of the data path
    passed: bool
    counts: dict[str, int]
    recovery: float | None
    seconds: float
    problems: list[str]
    when: str


def digest() -> str:
    """Of the data path's files as they are now."""
    h = hashlib.sha256()
    for pattern in DATA_PATH:
        for path in sorted(ROOT.glob(pattern)):
            h.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return h.hexdigest()[:12]


def commit() -> str:
    """The commit checked out, with a plus where files other than the results differ; empty outside a repository."""
    name = _git("describe", "--always", "--exclude=*")
    own = [f":!{path.relative_to(ROOT)}" for path in (FILE, PAGE)]
    return name + ("+" if name and _git("status", "--porcelain", "--", ".", *own) else "")


def _git(*args: str) -> str:
    told = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip()


def append(fault: Fault, seed: int, outcome: Outcome, file: Path = FILE) -> Result:
    """Note a run's outcome."""
    result = Result(
        fault.name, seed, commit(), digest(), outcome.passed, outcome.finding.counts,
        None if outcome.recovery is None else round(outcome.recovery, 1), round(outcome.seconds, 1), outcome.problems,
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )  # fmt: skip
    with file.open("ab") as out:
        out.write(orjson.dumps(result) + b"\n")
    return result


def read(file: Path = FILE) -> list[Result]:
    """Every result so far; of several with the same fault and seed the last one."""
    if not file.exists():
        return []
    lines: list[dict[str, Any]] = [orjson.loads(line) for line in file.read_bytes().splitlines() if line.strip()]
    return list({(r["fault"], r["seed"]): Result(**r) for r in lines}.values())


def table(faults: list[Fault], results: list[Result]) -> str:
    """The table of docs/reliability.md: a row for each fault that was run, of its runs on the data path as it is now.

    Where there is none yet, of those on an older one, and the row says so.
    """
    now = digest()
    out = [
        "| fault | runs | readings | lost | stored twice | redelivered | recovery p50, s | max, s | commit |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for fault in faults:
        ever = [r for r in results if r.fault == fault.name]
        if not ever:
            continue
        runs = [r for r in ever if r.path == now] or ever
        times = [r.recovery for r in runs if r.recovery is not None]
        total = {k: sum(r.counts.get(k, 0) for r in runs) for k in runs[-1].counts}
        failed = sum(not r.passed for r in runs)
        marks = [
            "" if not failed else f" **{failed} failed**",
            "" if runs[0].path == now else " (stale)",
        ]
        out.append(
            f"| {fault.says}{''.join(marks)} | {len(runs)} | {total['obligations']:,} | {total['lost']:,} "
            f"| {total['doubled']:,} | {total['copies']:,} | {_figure(median(times) if times else None)} "
            f"| {_figure(max(times, default=None))} | {', '.join(sorted({r.commit for r in runs}))} |"
        )
    return "\n".join(out)


def write_table(faults: list[Fault], results: list[Result], page: Path = PAGE) -> None:
    """Replace the table in the page."""
    head, rest = page.read_text().split(BEGIN)
    _, tail = rest.split(END)
    page.write_text(f"{head}{BEGIN}\n{table(faults, results)}\n{END}{tail}")


def _figure(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f}"
