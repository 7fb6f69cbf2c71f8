"""Finds which level of the topics that were heard names the device."""

from collections.abc import Sequence

from headrace.contracts.guess import is_mac
from headrace.errors import ConfigError
from headrace.protocol import filters
from headrace.protocol.names import DEVICE

GATEWAY = "gateway"  # a capture of this name says who publishes
_BEFORE = frozenset({"device", "devices", "dev", "node", "nodes", "sensor", "sensors", "thing", "things"})


def with_device(text: str, topics: Sequence[str], where: str) -> str:
    """The filter `text`, with {device_id} for the level that most likely names the device in `topics` (not empty).

    A # at its end becomes the levels that the topics have there. ConfigError, beginning with `where`, where no level
    can be it. With {gateway} for a level there need be none: the payload may name the device.
    """
    captures = filters.parse(text, where).captures
    if DEVICE in captures:
        return text
    levels = text.split("/")
    heard = [t.split("/") for t in dict.fromkeys(topics)]
    if levels[-1] == "#":
        if len({len(t) for t in heard}) > 1:
            shown = ", ".join(sorted("/".join(t) for t in heard)[:4])
            raise ConfigError(f"{where}: messages of several kinds came ({shown}, ...). Name one kind: + fills a level")
        rest = [{t[i] for t in heard} for i in range(len(levels) - 1, len(heard[0]))]
        levels[-1:] = [next(iter(found)) if len(found) == 1 and len(heard) > 1 else "+" for found in rest]
    free = [i for i, level in enumerate(levels) if level == "+"]
    if not free and GATEWAY in captures:
        return "/".join(levels)
    if not free:
        raise ConfigError(f"{where}: {text}: no level names the device. Write {{device_id}} or + for the one that does")

    def likely(i: int) -> tuple[bool, bool, int, int]:
        values = {t[i] for t in heard}
        return i > 0 and levels[i - 1].lower() in _BEFORE, all(map(is_mac, values)), len(values), i

    levels[max(free, key=likely)] = f"{{{DEVICE}}}"
    return "/".join(levels)
