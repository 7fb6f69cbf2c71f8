"""`headrace dlq redrive`: dead letters sent again, and what became of each."""

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import context
from headrace.cli.dlqshow import check_prefixes, chosen
from headrace.cli.output import data, printable, progress, say
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.deadletters import ReadLetter
    from headrace.deadletters.journal import Journal
    from headrace.deadletters.redrive import Result

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def redrive(  # noqa: PLR0913, PLR0917 - each is an option of the command
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY", help="Letters by their keys, or the keys' beginnings.", show_default=False),
    ] = None,
    stream: Annotated[str, typer.Option(help="Only those of this stream.", show_default=False)] = "",
    reason: Annotated[str, typer.Option(help="Only those with this reason.", show_default=False)] = "",
    stage: Annotated[
        str, typer.Option(help="Only those that this stage refused: bridge, clean or archive.", show_default=False)
    ] = "",
    since: Annotated[
        str, typer.Option(help="Only those since then: 90m, 6h, 2d, or an ISO 8601 time.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="Send at most this many letters; 0 is all.")] = 0,
    again: Annotated[
        bool, typer.Option("--again", help="Also those redriven before: each becomes one reading more.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing, only decode the letters. Cleaning's rules are not tried.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before sending.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Wait at most this long until cleaning has judged them.")
    ] = 60,
    json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Send dead letters again, each once, by the current contracts and routes.

    Correct the contract or the route first. A redrive that was interrupted is finished by the next one, and nothing is
    sent twice. A letter that still can't become a reading stays, with the reason. Exit code 1 when a letter was refused
    or its fate is not known yet.
    """
    from headrace import kafka
    from headrace.deadletters import Stage, journal
    from headrace.deadletters.exchange import Request
    from headrace.deadletters.redrive import run

    cfg = context.config()
    check_prefixes(keys or ())
    after = _since(since) if since else None
    if stage not in {"", *Stage}:
        raise ConfigError(f"--stage {stage}: one of {', '.join(Stage)}")
    kafka.probe(cfg.kafka)
    known = journal.load(cfg)
    named = set(chosen(known.letters, keys or ()))
    wanted = {n: w for n, w in (("stream", stream), ("reason", reason), ("stage", stage)) if w}
    picked = [
        it
        for it in known.letters.values()
        if (not named or it.key in named)
        and (again or known.is_open(it.key))
        and all(it.text(name) == value for name, value in wanted.items())
        and (after is None or it.time_ms >= after)
    ]
    picked = picked[:limit] if limit else picked
    if done := [k for k in named if not known.is_open(k) and not again]:
        say(f"{len(done):,} were redriven before, and are left alone (--again sends them once more)")
    if not picked:
        say("no dead letter to send again")
        if json:
            _print_json([])
        return
    if not json:
        _show_groups(picked)
    if not dry_run:
        _ask(len(picked), yes=yes)
    with progress("letters") as bar:
        verb = "looking" if dry_run else "sending"
        task = bar.add_task(verb, total=len(picked), count=0)

        def tell(done: int, what: str = "") -> None:
            bar.update(task, completed=done, count=done, description=what or verb)

        request = Request(frozenset(it.key for it in picked), again, dry_run)
        results = run(cfg, request, context.config_path(), wait, tell)
    if json:
        _print_json(results)
    else:
        _show(results, known)
    if len(results) < len(picked) or not all(r.good for r in results):
        raise typer.Exit(1)


def _since(text: str) -> int:
    """Milliseconds since 1970 UTC of `--since`."""
    try:
        if text[-1:] in _UNITS and text[:-1].replace(".", "", 1).isdecimal():
            when = datetime.now(UTC) - timedelta(seconds=float(text[:-1]) * _UNITS[text[-1]])
        else:
            when = datetime.fromisoformat(text)
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return int(when.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ConfigError(f"--since {text}: write 90m, 6h, 2d, or a time such as 2026-01-31T12:00:00Z") from None


def _ask(count: int, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{count:,} letters would be sent again. Add --yes to send them, or --dry-run to try")
    typer.confirm(f"Send {count:,} dead letters again?", abort=True, err=True)


def _show_groups(picked: "list[ReadLetter]") -> None:
    counts: dict[str, int] = {}
    for it in picked:
        what = f"{it.text('stream') or '(no stream)'}  {it.text('reason')} {it.text('field')}".rstrip()
        counts[what] = counts.get(what, 0) + 1
    for what, n in sorted(counts.items()):
        say(f"{n:>9,}  {printable(what)}")


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
