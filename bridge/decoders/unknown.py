"""What an object has that its contract does not: at any depth, and nested as the object has it."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from headrace.contracts.avro import Member
from headrace.contracts.model import Contract
from headrace.protocol.names import OURS

Known = dict[str, "Known | None"]  # the keys that are read; None: all that is inside is read too


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
    return out


def paths(part: Mapping[str, Any], of: Known) -> list[str]:
    """The keys of what `unknown` found, each with those around it: `air.co2`. Sorted."""
    out = []
    for key, value in part.items():
        inside = of.get(key)
        out += [f"{key}.{path}" for path in paths(value, inside)] if inside is not None else [key]
    return sorted(out)


def json_text(value: Any) -> str:
    """A value as JSON text: NaN and the infinities as null, bytes as base64. RecursionError where it is too deep."""
    return msgspec.json.encode(value).decode()
