"""Payloads that are one plain value, such as `21.5`: which fields of a contract they can fill, and on which routes."""

from collections.abc import Collection, Iterator

from headrace.contracts.model import Contract, Field
from headrace.protocol.names import OURS

FIELD = "field"  # the capture for the level of a topic that names the field
_OTHERS = OURS | {"device_id", "event_time"}  # the topic, the clock and Headrace fill these
_SHOWN = 6  # names in a message
_GROUPS = frozenset({"array", "record"})


def fillable(contract: Contract) -> list[Field]:
    """The fields of `contract` that one value can fill."""
    return [f for f in contract.fields if f.kind not in _GROUPS and f.name not in _OTHERS]


def problems(contract: Contract, captures: Collection[str], field: str) -> Iterator[str]:
    """In words, why the values of a route can't become readings of `contract`.

    `captures`: the names that the route's filter gives to levels of the topic. `field`: the field that the route fills;
    empty when each topic names it.
    """
    names = [f.name for f in fillable(contract)]
    if "device_id" not in captures:
        yield "a plain value does not say which device sent it. Write {device_id} for the level of the topic that does"
    if not field and FIELD not in captures:
        yield (
            f"nothing says which field the value is for. Add `field`, such as {_some(names)}; or write {{{FIELD}}} for "
            "the level of the topic that says it"
        )
    elif field and FIELD in captures:
        yield f"both `field` and {{{FIELD}}} say which field the value is for. Remove one of them"
    elif field and field not in names:
        yield f"the contract {contract.name} has no field {field} that one value can fill. It has {_some(names)}"
    elif field in captures:
        yield f"field {field}: the topic fills it already, by {{{field}}}. Name another field, or write + for the level"
    needed = [f.name for f in contract.fields if _is_needed(contract, f) and f.name not in {field, *captures}]
    if needed:
        yield (
            f"a message brings one value, and every reading of the contract {contract.name} needs {', '.join(needed)}. "
            'Make each optional there: "type": ["null", ...], "default": null'
        )


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _is_needed(contract: Contract, field: Field) -> bool:
    default = next(f.get("default") for f in contract.schema["fields"] if f["name"] == field.name)
    return not field.nullable and default is None and field.name not in _OTHERS
