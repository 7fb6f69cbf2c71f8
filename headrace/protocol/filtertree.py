"""Which of many filters a topic matches, in steps by the topic's levels and not by the number of filters."""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from headrace.protocol.filters import Filter

T = TypeVar("T")
_HERE = ""  # the key of the values of filters that end here; a level's key has a slash before it
_ANY, _ALL = "/+", "/#"


class FilterTree(Generic[T]):
    """Values by filter. Several may have the same filter."""

    def __init__(self, entries: Iterable[tuple[Filter, T]]) -> None:
        self._root: dict[str, Any] = {}
        for number, (it, value) in enumerate(entries):
            node = self._root
            for level in it.levels:
                node = node.setdefault(f"/{level}", {})
            node.setdefault(_HERE, []).append((number, value))

    def matching(self, topic: str) -> list[T]:
        """The values of the filters that `topic` matches, in the order in which they were given."""
        if not self._root:
            return []
        found: list[tuple[int, T]] = []
        nodes, wild = [self._root], not topic.startswith("$")  # a wildcard at the first level matches no $SYS
        for level in topic.split("/"):
            deeper: list[dict[str, Any]] = []
            key = f"/{level}"
            for node in nodes:
                if (exact := node.get(key)) is not None and key not in (_ANY, _ALL):
                    deeper.append(exact)
                if wild:
                    if _ANY in node:
                        deeper.append(node[_ANY])
                    if _ALL in node:
                        found += node[_ALL][_HERE]
            nodes, wild = deeper, True
            if not nodes:
                break
        for node in nodes:
            found += node.get(_HERE, ())
            if _ALL in node:  # `a/#` matches `a`
                found += node[_ALL][_HERE]
        if len(found) > 1:
            found.sort(key=_number)
        return [value for _, value in found]


def _number(entry: tuple[int, Any]) -> int:
    return entry[0]
