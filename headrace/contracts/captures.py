"""Which parts of an MQTT topic may become fields of a reading."""

from collections.abc import Iterable, Iterator

from headrace.contracts.model import QUALITY, Contract

_TEXT = frozenset({"string", "enum"})


def problems(contract: Contract, captures: Iterable[str]) -> Iterator[str]:
    """In words, each capture of a route's filter that is no field of `contract` that text can fill."""
    texts = [f.name for f in contract.fields if f.kind in _TEXT and f.name != QUALITY]
    for name in captures:
        if name not in texts:
            yield (
                f"{{{name}}} is no text field of the contract {contract.name}. It has {', '.join(texts)}; or write +"
            )
