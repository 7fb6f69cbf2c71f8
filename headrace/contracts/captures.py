"""Which parts of an MQTT topic may become fields of a reading."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from headrace.contracts.model import Contract
from headrace.contracts.onevalue import FIELD
from headrace.protocol.joins import Join
from headrace.protocol.names import DEVICE, OURS

_TEXT = frozenset({"string", "enum"})


def filling(
    captures: Iterable[str],
    payload_format: str,
    identity: str = DEVICE,
    joins: Mapping[str, Join] = MappingProxyType({}),
) -> list[str]:
    """The fields that the topics of a route fill: those with a join, and the captures that are fields themselves.

    Not themselves are: in a route for plain values the one that names the field; in a gateway's route the `identity`,
    which says who published and nothing about the reading; and those that are joined.
    """
    others = {FIELD if payload_format == "value" else "", identity if identity != DEVICE else ""}
    others |= {name for join in joins.values() for name in join.names} - {DEVICE}
    return list(dict.fromkeys([*joins, *(name for name in captures if name not in others)]))


def problems(contract: Contract, captures: Iterable[str]) -> Iterator[str]:
    """The captures of a route's filter that can't fill a text field of `contract`: each as a problem, in words."""
    texts = [f.name for f in contract.fields if f.kind in _TEXT and f.name not in OURS]
    for name in captures:
        if name not in texts:
            yield (
                f"{{{name}}} is not a text field of the contract {contract.name}. Use {', '.join(texts)}, or write +"
            )
