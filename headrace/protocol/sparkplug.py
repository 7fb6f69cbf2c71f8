"""Topics of Sparkplug B: `spBv1.0/GROUP/TYPE/EDGE_NODE`, with a device behind it where the message is for one.

Sparkplug 3.0, chapter 4: https://sparkplug.eclipse.org/specification/
"""

from typing import NamedTuple

from headrace.protocol import filters
from headrace.protocol.filters import Filter

NAMESPACE = "spBv1.0"
NODE = 3  # the level of a topic that names the edge node
_BARE, _DEVICE = 4, 5  # levels of a topic
_OF_NODES, _OF_DEVICES = ("NBIRTH", "NDATA", "NDEATH", "NCMD"), ("DBIRTH", "DDATA", "DDEATH", "DCMD")
# Types of messages that are no readings: by the label under which they are counted.
_PASSED_OVER = {"NDEATH": "death", "DDEATH": "death", "NCMD": "command", "DCMD": "command"}


class Place(NamedTuple):
    """What a topic says of a message."""

    group: str
    kind: str  # its type, such as NBIRTH
    node: str
    device: str  # empty: the message is the edge node's own


def place(topic: str) -> Place | None:
    """What a topic says; None where it is none of an edge node."""
    levels = topic.split("/")
    if levels[0] != NAMESPACE or not _BARE <= len(levels) <= _DEVICE:
        return None
    if levels[2] not in (_OF_NODES if len(levels) == _BARE else _OF_DEVICES):
        return None
    return Place(levels[1], levels[2], levels[NODE], levels[_BARE] if len(levels) == _DEVICE else "")


def passed_over(topic: str) -> str:
    """Why a message by this topic is no reading, as it is counted; empty where it may be one."""
    found = place(topic)
    return _PASSED_OVER.get(found.kind, "") if found is not None else ""


def whole(found: Filter) -> Filter | None:
    """All that the edge nodes publish some of whose messages a filter takes: they are numbered together.

    None: the filter is not one of Sparkplug's namespace, level by level.
    """
    levels = found.levels
    if levels[0] != NAMESPACE or not _BARE <= len(levels) <= _DEVICE or "#" in levels:
        return None
    return filters.parse("/".join([NAMESPACE, levels[1], "+", levels[NODE], "#"]), "", captures=False)


def rebirth_topic(group: str, node: str) -> str:
    """Where an edge node takes commands."""
    return f"{NAMESPACE}/{group}/NCMD/{node}"


def commands(levels: tuple[str, ...]) -> list[str]:
    """The filters by which an edge node reads what it and its devices are told; of a filter that `whole` made."""
    node = [NAMESPACE, levels[1], "NCMD", levels[NODE]]
    return ["/".join(node), "/".join([*node[:2], "DCMD", levels[NODE], "#"])]
