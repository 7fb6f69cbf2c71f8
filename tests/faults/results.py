"""Results, appended one by one to a file of JSON lines, and the table made of them."""

import ast
import hashlib
import subprocess
import time
from collections.abc import Iterator
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
ORACLE = ("asking", "audit", "evidence", "fleet", "readings", "run", "tail")
# What a reading passes through, and what judges it: a result is stale once any of that has changed. The services, with
# every module of `headrace` that they import, and these.
SERVICES = ("bridge/**/*.py", "processors/**/*.py")
BESIDE = (
    "schemas/*.avsc", "requirements.lock", *(f"headrace/stack/{n}.py" for n in ("mosquitto", "kafka", "store")),
    *(f"headrace/simulation/{n}.py" for n in ("device", "client", "unreceipted")),
    *(f"tests/faults/{n}.py" for n in ORACLE),
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


def digest(touches: tuple[str, ...] = ()) -> str:
    """Of the data path's files, and those that a fault `touches` beside them, as they are now."""
    h = hashlib.sha256()
    for path in (*data_path(), *sorted({p for pattern in touches for p in ROOT.glob(pattern)})):
        h.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return h.hexdigest()[:12]


def data_path() -> list[Path]:
    """The files that a reading passes through, and those that judge it, in order."""
    found = {path for pattern in SERVICES for path in ROOT.glob(pattern)}
    todo = list(found)
    while todo:
        new = set(_imported(todo.pop())) - found
        found |= new
        todo += new
    return sorted(found | {path for pattern in BESIDE for path in ROOT.glob(pattern)})


def _imported(path: Path) -> Iterator[Path]:
    """The modules of `headrace` that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        for name in names:
            place = ROOT / name.replace(".", "/")
            if name.startswith("headrace."):
                yield from (file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file())


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
        fault.name, seed, commit(), digest(fault.touches), outcome.passed, outcome.finding.counts | outcome.figures,
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
    now = {touches: digest(touches) for touches in {f.touches for f in faults}}
    out = [
        "| fault | runs | readings | lost | stored twice | redelivered | recovery p50, s | max, s | commit |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for fault in faults:
        ever = [r for r in results if r.fault == fault.name]
        if not ever:
            continue
        runs = [r for r in ever if r.path == now[fault.touches]] or ever
        times = [r.recovery for r in runs if r.recovery is not None]
        total = {k: sum(r.counts.get(k, 0) for r in runs) for k in runs[-1].counts}
        failed = sum(not r.passed for r in runs)
        marks = [
            "" if not failed else f" **{failed} failed**",
            "" if runs[0].path == now[fault.touches] else " (stale)",
        ]
        out.append(
            f"| {fault.says}{''.join(marks)} | {len(runs)} | {total['obligations']:,} | {total['lost']:,} "
            f"| {total['doubled']:,} | {total['copies']:,} | {_figure(median(times) if times else None)} "
            f"| {_figure(max(times, default=None))} | {', '.join(sorted({r.commit for r in runs}))} |"
        )
    return "\n".join(out)


ACTS = {
    "acts answered": "acts", "requests unanswered": "asked_again", "events": "events", "audit rows": "audit_rows",
    "logins tried": "logins", "connections": "connections",
}  # fmt: skip
DERIVED = {
    "readings of the source": "derived_from", "rows": "derived_rows", "dead letters": "derived_letters",
    "lost": "derived_lost", "stored twice": "derived_doubled",
}  # fmt: skip
COMPACTED = {
    "files stored": "compact_stored", "read afterwards": "compact_left", "removed": "compact_removed",
    "questions answered": "compact_polls", "answers that fell": "compact_fell", "with a row twice": "compact_doubled",
}  # fmt: skip


def figures_table(faults: list[Fault], results: list[Result], columns: dict[str, str]) -> str:
    """A further table, of the figures of judges: by column's title the name. Empty where no run has the first one."""
    first, *_ = columns.values()
    out = [f"| fault | runs | {' | '.join(columns)} |", f"|---|---:|{'---:|' * len(columns)}"]
    for fault in faults:
        runs = [r.counts for r in results if r.fault == fault.name and first in r.counts]
        if runs:
            figures = " | ".join(f"{sum(counts.get(name, 0) for counts in runs):,}" for name in columns.values())
            out.append(f"| {fault.says} | {len(runs)} | {figures} |")
    return "\n".join(out) if len(out) > 2 else ""


def write_table(faults: list[Fault], results: list[Result], page: Path = PAGE) -> None:
    """Replace the table in the page."""
    head, rest = page.read_text().split(BEGIN)
    _, tail = rest.split(END)
    further = (figures_table(faults, results, columns) for columns in (ACTS, DERIVED, COMPACTED))
    tables = "\n\n".join(text for text in (table(faults, results), *further) if text)
    page.write_text(f"{head}{BEGIN}\n{tables}\n{END}{tail}")


def _figure(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f}"
