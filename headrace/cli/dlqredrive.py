"""`headrace dlq redrive`: dead letters sent again, and what became of each."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context, dlqfilter
from headrace.cli.output import data, printable, progress, say
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.deadletters.journal import Journal, State
    from headrace.deadletters.redrive import Result


def redrive(  # noqa: PLR0913, PLR0917 - each is an option of the command
    keys: dlqfilter.Keys = None,
    stream: dlqfilter.Stream = "",
    reason: dlqfilter.Reason_ = "",
    stage: dlqfilter.Stage_ = "",
    device: dlqfilter.Device = "",
    since: dlqfilter.Since = "",
    until: dlqfilter.Until = "",
    limit: Annotated[int, typer.Option(min=0, help="Send at most this many letters; 0 is all.")] = 0,
    again: Annotated[
        bool, typer.Option("--again", help="Also those redriven before: each becomes one reading more.")
    ] = False,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Those in this file or folder, mended there: `headrace dlq export` writes it.",
            show_default=False,
        ),
    ] = None,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="Those that were dropped, instead of the open ones.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing, only decode the letters. Cleaning's rules are not tried.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before sending.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Wait at most this long until cleaning has judged them.")
    ] = 60,
    json: dlqfilter.Json = False,
) -> None:
    """Send dead letters again, each once, by the current contracts and routes.

    Correct the contract or the route first, or mend the letters and give them with --from. A redrive that was
    interrupted is finished by the next one (with the same file), and nothing is sent twice. A letter that still can't
    become a reading stays, with the reason. Exit code 1 when a letter was refused or its fate is not known yet.
    """
    from headrace.deadletters.exchange import Request
    from headrace.deadletters.mending import read_back
    from headrace.deadletters.redrive import run

    cfg = context.config()
    known, wanted = dlqfilter.load(cfg, dlqfilter.filter_of(stream, reason, stage, device, since, until), keys or ())
    mended = read_back(from_) if from_ is not None else {}
    wanted = wanted if wanted.keys else wanted.of_keys(mended)
    if strangers := mended.keys() - known.letters.keys():
        raise ConfigError(f"{from_}: Kafka has no letter {next(iter(strangers)).hex()} ({len(strangers):,} such)")
    states = _states(again=again, dropped=dropped)
    picked = [it for it in known.letters.values() if wanted.takes(it) and known.state(it.key) in states]
    if from_ is not None:
        picked = [it for it in picked if it.key in mended]
    mended = {it.key: mended[it.key] for it in picked if it.key in mended}
    picked = picked[:limit] if limit else picked
    for key in wanted.keys:
        if known.state(key) not in states:
            say(f"{key.hex()} is {known.state(key)}, and is left alone (--again or --dropped sends it)")
    if not picked:
        say("no dead letter to send again")
        if json:
            _print_json([])
        return
    if not json:
        dlqfilter.show_groups(dlqfilter.group(picked), say)
    if not dry_run:
        _ask(len(picked), yes=yes)
    with progress("letters") as bar:
        verb = "looking" if dry_run else "sending"
        task = bar.add_task(verb, total=len(picked), count=0)

        def tell(done: int, what: str = "") -> None:
            bar.update(task, completed=done, count=done, description=what or verb)

        request = Request(frozenset(it.key for it in picked), again, dry_run, mended)
        results = run(cfg, request, context.config_path(), wait, tell)
    if json:
        _print_json(results)
    else:
        _show(results, known)
    if len(results) < len(picked) or not all(r.good for r in results):
        raise typer.Exit(1)


def _states(*, again: bool, dropped: bool) -> "set[State]":
    """The states of the letters that are sent."""
    from headrace.deadletters.journal import State

    if dropped:
        return {State.DROPPED}
    return {State.OPEN, State.BEGUN} | ({State.REDRIVEN, State.REFUSED_AGAIN} if again else set())


def _ask(count: int, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{count:,} letters would be sent again. Add --yes to send them, or --dry-run to try")
    typer.confirm(f"Send {count:,} dead letters again?", abort=True, err=True)


def _show(results: "list[Result]", known: "Journal") -> None:
    """A line for each stream, fate and reason, with an example when something is left to do."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for r in results:
        groups.setdefault((known.letters[r.key].text("stream"), r.fate, r.reason, r.field_name), []).append(r)
    for (stream, fate, reason, name), group in sorted(groups.items()):
        what = printable(f"{fate} {reason} {name}".strip())
        data(f"{printable(stream) or '(no stream)'}  {len(group):,} x {what}")
        if not group[0].good:
            example = group[0].became[0] if group[0].became else group[0].key
            data(f"    e.g. {example.hex()}  {printable(group[0].detail)}".rstrip())


def _print_json(results: "list[Result]") -> None:
    import orjson

    counts: dict[str, int] = {}
    for r in results:
        counts[r.fate.value] = counts.get(r.fate.value, 0) + 1
    data(orjson.dumps({"counts": counts, "letters": [_one(r) for r in results]}).decode())


def _one(r: "Result") -> dict[str, Any]:
    sent_to = [it._asdict() for it in r.to]
    why = {"fate": r.fate, "reason": r.reason, "field": r.field_name, "detail": r.detail}
    counts = {"number": r.number, "readings": r.readings}
    return {"key": r.key.hex(), **counts, **why, "sent_to": sent_to, "became": [k.hex() for k in r.became]}
