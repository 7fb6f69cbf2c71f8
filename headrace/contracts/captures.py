"""Which parts of an MQTT topic may become fields of a reading."""

from collections.abc import Iterable, Iterator

from headrace.contracts.model import Contract
from headrace.contracts.onevalue import FIELD
from headrace.protocol.names import DEVICE, QUALITY

_TEXT = frozenset({"string", "enum"})


def filling(captures: Iterable[str], payload_format: str, identity: str = DEVICE) -> list[str]:
    """The captures of a route that are fields.

    All but these: in a route for plain values the one that names the field, and in a gateway's route the `identity`,
    which says who published and nothing about the reading.
    """
    others = {FIELD if payload_format == "value" else "", identity if identity != DEVICE else ""}
    return [name for name in captures if name not in others]


def problems(contract: Contract, captures: Iterable[str]) -> Iterator[str]:
    """The captures of a route's filter that can't fill a text field of `contract`: each as a problem, in words."""
    texts = [f.name for f in contract.fields if f.kind in _TEXT and f.name != QUALITY]
    for name in captures:
        if name not in texts:
            yield (
                f"{{{name}}} is not a text field of the contract {contract.name}. Use {', '.join(texts)}, or write +"
            )
