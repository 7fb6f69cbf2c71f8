"""Which columns the view of a stream and of those that follow it has: one for both where they mean the same."""

from collections.abc import Mapping

from headrace.contracts.avro import NUMBERS, Node
from headrace.contracts.compat import words
from headrace.contracts.model import Contract, Field

_ALIKE = (NUMBERS, {"string", "enum"}, {"bytes", "fixed"})


def renamed(contracts: Mapping[str, Contract | None]) -> dict[str, dict[str, str]]:
    """By stream, what its own columns are called in the view, where that is not their name. `contracts`: oldest first.

    The newest stream that has a column keeps its name. An older one's that can't be united with it, since type or unit
    differ, is called `<column>_<stream>`.
    """
    kept: dict[str, Field] = {}
    out: dict[str, dict[str, str]] = {}
    for stream, contract in reversed(list(contracts.items())):
        fields = contract.fields if contract is not None else ()
        apart = [f for f in fields if f.name.lower() in kept and not unites(kept[f.name.lower()], f)]
        for f in fields:
            kept.setdefault(f.name.lower(), f)
        for f in apart:
            name = f"{f.name}_{stream}"
            while name.lower() in kept:
                name += "_"
            kept[name.lower()] = f
            out.setdefault(stream, {})[f.name] = name
    return out


def lines(contracts: Mapping[str, Contract | None]) -> list[str]:
    """For people: the columns that stay apart in the view, each with its types and units."""
    apart = renamed(contracts)
    out = []
    for stream, columns in apart.items():
        for name, other in columns.items():
            newest = next(s for s, c in reversed(list(contracts.items())) if c is not None and name in c)
            is_now, was = (_words(contracts[s], name) for s in (newest, stream))
            out.append(f"{name}: {is_now} in {newest}, {was} in {stream}: there the view calls it {other}")
    return out


def unites(one: Field, other: Field) -> bool:
    """Whether values of two fields can stand in one column."""
    return one.unit == other.unit and _types_unite(one.type, other.type)


def _types_unite(one: Node, other: Node) -> bool:
    if (one.logical or "").startswith("timestamp") or (other.logical or "").startswith("timestamp"):
        return all((n.logical or "").startswith("timestamp") for n in (one, other))
    if bool(one.precision) != bool(other.precision):
        return False
    if one.items is not None and other.items is not None:
        return _types_unite(one.items, other.items)
    if one.kind == other.kind == "record":
        inner = {m.name.lower(): m.type for m in one.members}
        return all(_types_unite(inner[n], m.type) for m in other.members if (n := m.name.lower()) in inner)
    return one.kind == other.kind or any({one.kind, other.kind} <= kinds for kinds in _ALIKE)


def _words(contract: Contract | None, name: str) -> str:
    assert contract is not None
    field = contract.field(name)
    return words(field.type) + (f" in {field.unit}" if field.unit else "")
