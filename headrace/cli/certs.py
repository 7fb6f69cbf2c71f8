"""`headrace certs`: the certificates of the local stack's servers, or of Compose's."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.cli import context
from headrace.cli.output import data, say, show
from headrace.errors import ConfigError
from headrace.stack import certs
from headrace.stack.state import State

app = typer.Typer(help="List and renew the certificates of the stack's servers.")


@app.command("list")
def list_(
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder with the certificates; that of the local stack when absent.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show each certificate: for whom it is, who issued it, until when it is good. Exit code 1 when one is of no use.

    `renew` in the column state: two thirds of its life are over. The next `headrace up`, and `headrace certs renew`,
    make a new one, but for an authority.
    """
    import orjson

    where = folder or State(context.state()).certs
    found = certs.rows(where)
    if not found:
        raise ConfigError(f"no certificates in {where}. `headrace up` makes them")
    if json:
        out = [{**row._asdict(), "file": str(row.file), "state": row.state} for row in found]
        data(orjson.dumps(out, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(found, where)
    if any(row.wrong for row in found):
        raise typer.Exit(1)


@app.command()
def renew(
    every: Annotated[bool, typer.Option("--all", help="Renew all of them now, not only those that are due.")] = False,
) -> None:
    """Renew the certificates of the local stack that are due. Its servers take them without a restart.

    A certificate is due from two thirds of its life. `headrace up` renews too, and so does a stack that runs. The
    authority stays, so clients notice nothing.
    """
    from headrace.stack import plan

    state = State(context.state())
    if not state.exists:
        raise ConfigError(f"no stack in {state.path}. Start one with `headrace up`")
    done = certs.keep(state.certs, plan.load_made(state).certified, renew=every)
    for words in done:
        say(words)
    if not done:
        say("all are good: nothing to renew. --all renews them nevertheless")
    elif certs.tell(state):
        say(f"told mosquitto; SeaweedFS takes the new ones within {certs.RELOAD_SECONDS} s")


def _show(found: list[certs.Row], folder: Path) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("certificate", "for", "issued by", "from", "until", "state"):
        table.add_column(name, no_wrap=True)
    for row in found:
        hosts = ", ".join(row.hosts) or "signs the others"
        until = f"{row.begins:%Y-%m-%d}", f"{row.ends:%Y-%m-%d}"
        table.add_row(str(row.file.relative_to(folder)), f"{row.name}: {hosts}", row.issuer, *until, row.state)
    show(table)
    for row in found:
        if row.due and row.file.stem == certs.CA:
            say(
                f"{row.file.relative_to(folder)}: no command replaces an authority, which ends on {row.ends:%Y-%m-%d}. "
                f"With the stack stopped remove {row.file.parent}; the next start makes a new one, and whoever trusts "
                "the old one needs its ca.pem"
            )
        if row.wrong:
            say(f"{row.file.name}: {row.wrong}. `headrace certs renew` makes a new one")
