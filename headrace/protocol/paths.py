"""Paths to a value in a payload: `uplink_message.rx_metadata[0].rssi`. Keys with a dot stand in `["a.b"]`."""

import re
from collections.abc import Mapping
from typing import Any

from headrace.errors import ConfigError

Path = tuple[str | int, ...]  # keys of objects, numbers of elements; a negative one counts from the end

_STEP = re.compile(r"""\.?([^.\[\]]+)|\[(-?\d{1,6})\]|\[(?:"([^"]+)"|'([^']+)')\]""")


def parse(text: str, where: str) -> Path:
    """The path; ConfigError, beginning with `where` (a key of the configuration), when it is none."""
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or (at == 0 and text[0] == "."):
            break
        key, number, *quoted = found.groups()
        steps.append(int(number) if number is not None else next(k for k in (key, *quoted) if k is not None))
        at = found.end()
    if at < len(text) or not steps or isinstance(steps[0], int):
        raise ConfigError(
            f"{where}: {text[:80]!r} is not a path such as air.co2 or gateways[0].rssi. A key with a dot or a bracket "
            'stands in ["..."]'
        )
    return tuple(steps)


def find(path: Path, found: Any) -> Any:
    """The value at the path; None where there is nothing."""
    for step in path:
        if isinstance(step, str):
            if not isinstance(found, Mapping):
                return None
            found = found.get(step)
        else:
            if type(found) is not list or not -len(found) <= step < len(found):
                return None
            found = found[step]
    return found
