"""Topics, contracts and bucket of an installation, made with patience for servers that are away."""

import time
from collections.abc import Callable, Iterable
from enum import StrEnum

from headrace.config import Config
from headrace.errors import TransientError

_PAUSE_SECONDS = 2.0


class Part(StrEnum):
    """What can be made by itself."""

    TOPICS = "topics"
    CONTRACTS = "contracts"
    BUCKET = "bucket"


def provide(config: Config, parts: Iterable[Part], wait: float, notify: Callable[[str], None]) -> None:
    """Make what is missing of `parts`, waiting `wait` seconds in all for servers that are away.

    TransientError where one still is then; ConfigError for what no waiting mends.
    """
    end = time.monotonic() + wait
    for part in parts:
        _patiently(config, part, end, notify)


def _patiently(config: Config, part: Part, end: float, notify: Callable[[str], None]) -> None:
    """Make `part`, trying again until `end` (monotonic seconds) where a server is away."""
    told = False
    while True:
        try:
            notify(f"{part}: {_make(config, part)}")
        except TransientError as e:
            if time.monotonic() + _PAUSE_SECONDS > end:
                raise
            if not told:
                notify(f"{part}: {e}; waiting")
                told = True
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _make(config: Config, part: Part) -> str:
    from headrace import provision as steps

    if part is Part.TOPICS:
        made = steps.topics(config)
        return ", ".join(made) + " created" if made else "all there"
    if part is Part.CONTRACTS:
        ids = steps.contracts(config)
        return ", ".join(f"{stream} has schema id {n}" for stream, n in ids.items())
    steps.bucket(config)
    return config.store.bucket
