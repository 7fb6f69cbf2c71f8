"""`headrace provision`: make what the services of an installation expect to find."""

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import context
from headrace.cli.output import say
from headrace.errors import TransientError

if TYPE_CHECKING:
    from headrace.config import Config

_PAUSE_SECONDS = 2.0


class Part(StrEnum):
    """What can be made by itself."""

    TOPICS = "topics"
    CONTRACTS = "contracts"
    BUCKET = "bucket"


def provision(
    parts: Annotated[
        list[Part] | None,
        typer.Argument(metavar="[PART]...", help="topics, contracts or bucket; all when left out.", show_default=False),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Wait for a server that is away, this long at most.")
    ] = 0,
) -> None:
    """Create topics and bucket and register contracts, where they are missing. May be run again at any time."""
    config = context.config()
    end = time.monotonic() + wait
    for part in parts or list(Part):
        _patiently(config, part, end)


def _patiently(config: "Config", part: Part, end: float) -> None:
    """Make `part`, trying again until `end` (monotonic seconds) where a server is away."""
    told = False
    while True:
        try:
            say(f"{part}: {_make(config, part)}")
        except TransientError as e:
            if time.monotonic() + _PAUSE_SECONDS > end:
                raise
            if not told:
                say(f"{part}: {e}; waiting")
                told = True
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _make(config: "Config", part: Part) -> str:
    from headrace import provision as steps

    if part is Part.TOPICS:
        made = steps.topics(config)
        return ", ".join(made) + " created" if made else "all there"
    if part is Part.CONTRACTS:
        ids = steps.contracts(config)
        return ", ".join(f"{stream} has schema id {n}" for stream, n in ids.items())
    steps.bucket(config)
    return config.store.bucket
