"""`headrace dlq drop`: dead letters that nobody needs."""

import getpass
import socket
import sys
from typing import Annotated

import typer

from headrace.cli import context, dlqfilter
from headrace.cli.output import data, say
from headrace.errors import ConfigError


def drop(  # noqa: PLR0913, PLR0917 - each is an option of the command
    keys: dlqfilter.Keys = None,
    stream: dlqfilter.Stream = "",
    reason: dlqfilter.Reason_ = "",
    stage: dlqfilter.Stage_ = "",
    device: dlqfilter.Device = "",
    since: dlqfilter.Since = "",
    until: dlqfilter.Until = "",
    by: Annotated[
        str, typer.Option(help="Who decides, for the record; by default who runs the command.", show_default=False)
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be dropped.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    json: dlqfilter.Json = False,
) -> None:
    """Note that nobody needs some dead letters: they vanish from `dlq list`, and are no longer redriven.

    It needs keys or a filter, shows what it would drop, and asks. Who dropped a letter, when and by which filter is
    kept beside it (`dlq show`). Nothing is deleted: `dlq list --all` has them, and `dlq redrive --dropped` sends them.
    """
    from headrace.deadletters import dropping, journal

    cfg = context.config()
    wanted = dlqfilter.filter_of(stream, reason, stage, device, since, until)
    if not keys and not wanted.words():
        raise ConfigError("say which: keys, or --stream, --reason, --stage, --device, --since, --until")
    known, wanted = dlqfilter.load(cfg, wanted, keys or ())
    picked = [it for it in known.letters.values() if wanted.takes(it) and known.state(it.key) is journal.State.OPEN]
    if begun := sum(known.state(k) is journal.State.BEGUN for k, it in known.letters.items() if wanted.takes(it)):
        say(f"{begun:,} are left alone: their redrive was interrupted. `headrace dlq redrive` finishes it")
    if picked and not json:
        dlqfilter.show_groups(dlqfilter.group(picked), say)
    if picked and not dry_run:
        _ask(len(picked), yes=yes)
        dropping.drop(cfg, picked, by or _who(), wanted.words())
    if json:
        import orjson

        name = "would_drop" if dry_run else "dropped"
        data(orjson.dumps({name: [it.key.hex() for it in picked], "filter": wanted.words()}).decode())
        return
    if picked:
        say(f"{len(picked):,} would be dropped" if dry_run else f"{len(picked):,} dropped")
    else:
        say("no open dead letter to drop")


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a container's user may have no name
        return socket.gethostname()


def _ask(count: int, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{count:,} letters would be dropped. Add --yes to drop them, or --dry-run to see them only")
    typer.confirm(f"Drop {count:,} dead letters?", abort=True, err=True)
