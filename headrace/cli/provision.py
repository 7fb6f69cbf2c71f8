"""`headrace provision`: make what the services of an installation expect to find."""

from typing import Annotated

import typer

from headrace.cli import context
from headrace.cli.output import say
from headrace.operate.provision import Part, provide


def provision(
    parts: Annotated[
        list[Part] | None,
        typer.Argument(metavar="[PART]...", help="topics, contracts or bucket; all when left out.", show_default=False),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Wait for servers that are away, at most this long.")
    ] = 0,
) -> None:
    """Create the topics and the bucket and register the contracts, if missing. May be run again at any time."""
    provide(context.config(), parts or list(Part), wait, say)
