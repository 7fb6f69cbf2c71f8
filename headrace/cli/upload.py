"""`headrace upload`."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.output import data, printable, progress, say, show, waiting
from headrace.cli.trialtable import first_rows, time_of
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.config import Config
    from headrace.uploads.follow import Outcome, Progress
    from headrace.uploads.plan import Candidate, Planned, Planner
    from headrace.uploads.profile import Profile
    from headrace.uploads.trial import Trial

_SHOWN = 10  # files that are named one by one
# Options of all commands that upload.
Profiles = Annotated[
    list[Path], typer.Option(help="How files become readings (YAML); the first that is for a file's name counts.")
]
Patience = Annotated[
    float, typer.Option(min=1, metavar="SECONDS", help="Wait for the lake as long as something moves in that time.")
]


def upload(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files, folders, and zip files.")],
    profile: Profiles,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded, and end.")] = False,
    patience: Patience = 180,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Upload files of readings: each row is stored exactly once, or it is said why not.

    Reads all files first, and shows what they would become. Then keeps the files themselves in the object store, has
    their rows loaded, and counts them in the lake. What was uploaded before is known by its content, whatever its name:
    run it again after an interruption, and it goes on where it was.

    Exit code 1 where a row is not accounted for.
    """
    from headrace.uploads import plan
    from headrace.uploads import profile as kept

    cfg = context.config()
    profiles = [kept.load(path) for path in profile]
    found, passed = plan.candidates(files)
    for words in passed:
        say(f"passed over: {words}")
    outcomes, known = load(cfg, found, profiles, yes=yes, dry_run=dry_run, patience=patience, quiet=json)
    report(outcomes, known, json=json)
    if not all(it.good for it in outcomes):
        raise typer.Exit(1)


def load(
    cfg: "Config",
    found: "Sequence[Candidate]",
    profiles: "Sequence[Profile]",
    *,
    yes: bool,
    dry_run: bool,
    patience: float,
    quiet: bool = False,
) -> "tuple[list[Outcome], list[Planned]]":
    """Show what files would become, ask, upload them; returns what became of each, and the files that were known.

    `quiet`: print no tables.
    """
    from headrace.readers.apart import Apart
    from headrace.store.open import open_store
    from headrace.uploads import plan
    from headrace.uploads.desk import Desk

    for it in profiles:
        plan.stream_of_files(cfg, it)
    store = open_store(cfg.store)
    desk = Desk(store)
    with Apart() as apart:
        planned = _planned(plan.Planner(cfg, desk.known(), desk.loaded(), apart.open_file), found, profiles)
    new, known = [it for it in planned if not it.known], [it for it in planned if it.known]
    _show(new, known, quiet=quiet)
    retired = desk.retired().intersection(upload for it in known for upload in it.uploads) if known else set()
    if retired:
        ids = ", ".join(sorted(retired)[:3]) + (", ..." if len(retired) > 3 else "")
        say(f"{len(retired):,} of them are retired ({ids}): `headrace uploads retire ID --undo` lets them count again")
    if problems := list(plan.unfit(new)):
        raise ConfigError("\n".join(problems))
    if dry_run or not new:
        return [], known
    if not yes:
        _ask(new)
    return _uploaded(cfg, store, desk, new, patience), known


def _planned(planner: "Planner", found: "Sequence[Candidate]", profiles: "Sequence[Profile]") -> "list[Planned]":
    from headrace.uploads import plan

    out, seen = list[Any](), set[str]()
    with progress("bytes") as bar:
        total = bar.add_task("reading", total=sum(it.size for it in found), count=0)
        done = 0
        for it in found:
            chosen = plan.chosen(profiles, it.name)
            if chosen is None:
                say(f"{it.name}: no profile is for files of this name")
            else:
                step = partial(_step, bar, total, done)
                planned = planner.plan(it, chosen, step)
                if planned.uploads[0] in seen:
                    say(f"{it.name}: the same content as a file before it")
                else:
                    out.append(planned)
                seen |= set(planned.uploads)
            done += it.size
            bar.update(total, completed=done, count=done)
    if not out:
        raise ConfigError("there is no file to upload: none has a name that a profile is for")
    return out


def _step(bar: Any, task: Any, before: int, done: int) -> None:
    bar.update(task, completed=before + done, count=before + done)


def _show(new: "Sequence[Planned]", known: "Sequence[Planned]", *, quiet: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    if known:
        names = ", ".join(printable(it.candidate.name) for it in known[:3]) + (", ..." if len(known) > 3 else "")
        say(f"known already: {len(known):,} of {len(known) + len(new):,} files ({names})")
    if not new:
        say("all known: nothing to do")
    if quiet or not new:
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("file")
    for name in ("rows", "readings", "refused", "left out"):
        table.add_column(name, justify="right")
    for name in ("devices", "from (UTC)", "to (UTC)"):
        table.add_column(name)
    for it in new[:_SHOWN]:
        for one in it.trials:
            table.add_row(*map(Text, _cells(one)))
    if len(new) > _SHOWN:
        rest = [one for it in new[_SHOWN:] for one in it.trials]
        sums = map(sum, zip(*map(_counts, rest), strict=True))
        table.add_row(f"and {len(new) - _SHOWN:,} more", *(f"{n:,}" for n in sums), "", "", "")
    show(table)
    for words in _reasons(new):
        say(words)
    first_rows(new[0].trials[0], new[0].profile)


def _counts(one: "Trial") -> tuple[int, int, int, int]:
    """Rows, and of these readings, refused ones, and those that are left out."""
    return one.rows, one.readings, one.refused.total(), one.left_out.total()


def _cells(one: "Trial") -> list[str]:
    name = printable(f"{one.name}{f', {one.table.name}' if one.table.name else ''}")
    devices = sorted(one.devices)
    named = devices[0] + (f" and {len(devices) - 1:,} more" if len(devices) > 1 else "") if devices else ""
    span = [time_of(it) if it is not None else "" for it in (one.begin, one.end)]
    return [name, *(f"{n:,}" for n in _counts(one)), named, *span]


def _reasons(new: "Sequence[Planned]") -> list[str]:
    from collections import Counter

    out = []
    for what, words in (("refused", "would be dead letters"), ("left_out", "left out")):
        counts = Counter[str]()
        first: dict[str, str] = {}
        for it in new:
            for one in it.trials:
                counts += getattr(one, what)
                for kind in getattr(one, what):
                    example = one.examples[kind]
                    first.setdefault(kind, f"{one.name}, {example.where}: {example.words}")
        out += [f"{n:,} rows {words}: {kind}. The first: {printable(first[kind])}" for kind, n in counts.most_common()]
    return out


def _ask(new: "Sequence[Planned]") -> None:
    import sys

    if not sys.stdin.isatty():
        raise ConfigError("nobody can be asked here. Give --yes to upload, or --dry-run to see what would be uploaded")
    rows = sum(one.readings for it in new for one in it.trials)
    if not typer.confirm(f"Upload {rows:,} readings of {len(new):,} files to {new[0].stream}?", err=True):
        raise typer.Exit(1)


def _uploaded(cfg: "Config", store: Any, desk: Any, new: "Sequence[Planned]", patience: float) -> "list[Outcome]":
    from headrace.lake import flow
    from headrace.uploads import follow
    from headrace.uploads.ordering import Ordering

    with flow.watch(cfg) as watcher, Ordering(cfg, store) as ordering:
        follower = follow.Follower(desk, watcher, {it.stream for it in new})
        with progress("bytes") as bar:
            task = bar.add_task("keeping", total=sum(it.candidate.size for it in new), count=0)
            orders = ordering.ship_all(new, partial(_step, bar, task, 0))
        total, begun = sum(it.readings for it in orders), time.monotonic()
        with progress("rows") as bar:
            task = bar.add_task("loading", total=total, count=0)
            finished = follower.wait([it.upload for it in orders], patience, _notify(bar, task, total))
        seconds = time.monotonic() - begun
    with waiting() as notify:
        notify("counting the rows in the lake")
        outcomes = follow.count(cfg, desk, orders)
    if not finished:
        say(f"not finished: nothing has moved for {patience:g} s. `headrace status` shows where it waits")
    stored = sum(it.stored for it in outcomes)
    say(f"{stored:,} rows are in the lake after {seconds:,.0f} s ({stored / max(seconds, 0.001):,.0f}/s)")
    return outcomes


def _notify(bar: Any, task: Any, total: int) -> "Callable[[Progress], None]":
    def notify(it: "Progress") -> None:
        stored = min(it.stored, total)
        words = f"loading, {it.sent:,} sent" if it.waiting else "storing"
        bar.update(task, description=words, completed=stored, count=stored)

    return notify


def report(outcomes: "Sequence[Outcome]", known: "Sequence[Planned]", *, json: bool) -> None:
    """Print what became of uploads."""
    import orjson

    if json:
        files = [{"file": it.candidate.name, "uploads": it.uploads} for it in known]
        out = {"uploads": [it.to_json() for it in outcomes], "known": files}
        data(orjson.dumps(out, option=orjson.OPT_INDENT_2).decode())
    elif outcomes:
        _sums(outcomes)


def _sums(outcomes: "Sequence[Outcome]") -> None:
    sums = {
        "stored": sum(it.stored for it in outcomes),
        "dead letters": sum(it.refused + it.letters for it in outcomes),
        "left out": sum(it.order.left_out for it in outcomes),
    }
    rows = sum(it.order.readings + it.order.refused + it.order.left_out for it in outcomes)
    data(f"{rows:,} rows of {len(outcomes):,} files: " + ", ".join(f"{n:,} {words}" for words, n in sums.items()))
    bad = [it for it in outcomes if not it.good]
    for it in bad[:_SHOWN]:
        words = [f"{it.missing:,} rows are missing"] if it.missing else []
        words += [f"{it.copies:,} rows are there twice"] if it.copies else []
        words += [f"not loaded to its end: {it.failed}"] if it.failed else []
        data(f"{printable(it.order.file)} ({it.order.upload}): {'; '.join(words)}")
    if len(bad) > _SHOWN:
        data(f"and {len(bad) - _SHOWN:,} more files")
    if not bad:
        data("each row is exactly one of these: counted in the lake")
