"""What an object has that its contract does not: at any depth, and nested as the object has it."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from headrace.contracts.avro import Member
from headrace.contracts.model import Contract
from headrace.protocol.names import OURS

Known = dict[Any, "Known | None"]  # the keys (and elements) that are read; None: all that is inside is read too


class Way(Known):
    """Keys inside something that a path goes through: of what is no object or list there, nothing is read."""


_NONE: Known = {}


def known(contract: Contract) -> Known:
    """The keys that a contract has."""
    out: Known = {}
    for field in contract.fields:
        if field.name not in OURS:
            inside = _members(field.type.members)
            out |= dict.fromkeys((field.name, *field.aliases), inside)
    return out


def _members(members: Iterable[Member]) -> Known | None:
    out: Known = {}
    for member in members:
        inside = _members(member.type.members)
        out |= dict.fromkeys((member.name, *member.attributes.get("aliases", ())), inside)
    return out or None


def unknown(found: Mapping[str, Any], of: Known) -> dict[str, Any]:
    """The part of an object that is not among the keys `of`."""
    out: dict[str, Any] = {}
    for key, value in found.items():
        if key not in of:
            out[key] = value
        elif (inside := of[key]) is not None and type(value) is dict:
            left = unknown(value, inside)
            if left:
                out[key] = left
        elif isinstance(inside, Way) and value is not None and (type(value) is not list or _left_in(value, inside)):
            out[key] = value
    return out


def _left_in(elements: list[Any], of: Known) -> bool:
    """Whether elements, or parts of them, are not read: then the list is left over whole."""
    for i, value in enumerate(elements):
        inside = of.get(i, of.get(i - len(elements), _NONE))
        if inside is None:
            continue
        if type(value) is not dict or unknown(value, inside):
            return True
    return False


def paths(part: Mapping[str, Any], of: Known) -> list[str]:
    """The keys of what `unknown` found, each with those around it: `air.co2`. Sorted."""
    out = []
    for key, value in part.items():
        inside = of.get(key)
        out += [f"{key}.{p}" for p in paths(value, inside)] if inside is not None and type(value) is dict else [key]
    return sorted(out)


def json_text(value: Any) -> str:
    """A value as JSON text: NaN and the infinities as null, bytes as base64. RecursionError where it is too deep."""
    return msgspec.json.encode(value).decode()
