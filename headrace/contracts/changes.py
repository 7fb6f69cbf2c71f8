"""Says in words what differs between two versions of a contract, and what readers of the stream see of it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from headrace.contracts.avro import Member, Node
from headrace.contracts.compat import PROMOTIONS, words
from headrace.contracts.crossrules import CrossRule
from headrace.contracts.model import Contract

_NO_RULES = frozenset({"name", "type", "default", "doc", "aliases", "unit", "time_unit"})
_OF_RECORD = frozenset({"type", "name", "namespace", "fields", "rules"})


class Change(NamedTuple):
    """One difference. `field` is empty for the contract as a whole; `seen` where nobody sees anything of it."""

    what: str  # added, removed, renamed, type, unit, rule, ...
    field: str
    words: str
    seen: str = ""

    @property
    def line(self) -> str:
        """The difference in a line: "unit temperature: was Cel, is K"."""
        return f"{self.what} {self.field}: {self.words}" if self.field else f"{self.what}: {self.words}"


def differences(old: Contract, new: Contract) -> list[Change]:
    """Everything that differs: fields, types, and what their values mean, in the order of the new contract's fields."""
    before, after = ({raw["name"]: raw for raw in c.schema["fields"]} for c in (old, new))
    renamed = {f.name: name for f in new.fields if f.name not in old and (name := _former(f.aliases, before, after))}
    out = []
    for field in old.fields:
        if field.name not in new and field.name not in renamed.values():
            seen = "older rows keep it; in newer ones the column is null. A payload that still has it: unknown_fields"
            out.append(Change("removed", field.name, words(field.type), seen))
    for field in new.fields:
        was = renamed.get(field.name, field.name)
        if was not in old:
            out.append(Change("added", field.name, _described(field.type, field.unit), _of_older(after[field.name])))
            continue
        if was != field.name:
            seen = f"the lake has both columns: older rows have {was}, newer ones {field.name}"
            out.append(Change("renamed", field.name, f"was {was}", seen))
        out += _types(field.name, old.field(was).type, field.type)
        out += _meaning(field.name, before[was], after[field.name])
    out += _rules({r.name: r for r in old.rules}, {r.name: r for r in new.rules})
    out += [
        Change(key, "", _both(old.schema.get(key), new.schema.get(key)), "" if key == "doc" else _NEWER)
        for key in sorted({*old.schema, *new.schema} - _OF_RECORD)
        if old.schema.get(key) != new.schema.get(key)
    ]
    if [f.name for f in old.fields if f.name in new] != [f.name for f in new.fields if f.name in old]:
        out.append(Change("order", "", "the fields are in another order"))
    return out


_OTHER_UNIT = "nothing is converted: older rows keep the old unit, in the same column. Better add a new field"
_NEWER = "acts on readings that come from now on, not on what is stored"


def _described(kind: Node, unit: str | None) -> str:
    return words(kind) + (f", in {unit}" if unit else "")


def _former(aliases: tuple[str, ...], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The old name among the aliases of a new field; empty where there is none."""
    return next((a for a in aliases if a in before and a not in after), "")


def _of_older(raw: Mapping[str, Any]) -> str:
    if "default" not in raw:
        return "older readings lack it"
    value = raw["default"]
    return "older rows have null there" + ("" if value is None else "; the default is for what comes from now on")


def _types(name: str, old: Node, new: Node) -> Iterator[Change]:
    if old.nullable != new.nullable:
        turned = "was required, is optional" if new.nullable else "was optional, is required"
        yield Change("type", name, turned, "newer rows may have null there" if new.nullable else "")
    was, now = (words(n).removeprefix("optional ") for n in (old, new))
    if was != now:
        read = new.kind in PROMOTIONS.get(old.kind, ()) and old.logical == new.logical
        seen = f"the column takes the type {new.kind} for older rows too" if read else ""
        yield Change("type", name, f"was {was}, is {now}", seen)
        return
    if old.symbols != new.symbols:
        for text, some in (
            ("added", set(new.symbols) - set(old.symbols)),
            ("gone", set(old.symbols) - set(new.symbols)),
        ):
            if some:
                yield Change("symbols", name, f"{text}: {', '.join(sorted(some))}")
    if (old.size, old.precision, old.scale) != (new.size, new.precision, new.scale):
        yield Change("type", name, f"was {_exact(old)}, is {_exact(new)}")
    yield from _members(name, *({m.name: m for m in node.members} for node in (old, new)))


def _members(name: str, old: Mapping[str, Member], new: Mapping[str, Member]) -> Iterator[Change]:
    for inner in [*old, *(n for n in new if n not in old)]:
        place = f"{name}.{inner}"
        if inner not in new:
            yield Change("removed", place, words(old[inner].type), "older rows keep it")
        elif inner not in old:
            yield Change(
                "added",
                place,
                _described(new[inner].type, new[inner].attributes.get("unit")),
                _of_older(new[inner].attributes),
            )
        else:
            yield from _types(place, old[inner].type, new[inner].type)
            yield from _meaning(place, old[inner].attributes, new[inner].attributes)


def _meaning(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """What differs in the attributes of a field, as they are written."""
    for key in ("unit", "time_unit"):
        if old.get(key) != new.get(key):
            seen = "payloads are read by it from now on"
            if key == "unit":
                seen = _OTHER_UNIT if old.get("unit") else "says what the numbers are in; nothing is converted"
            yield Change(key, name, _both(old.get(key), new.get(key)), seen)
    for key in sorted({*old, *new} - _NO_RULES):
        absent = "reject" if key == "on_violation" else None
        if (was := old.get(key, absent)) != (now := new.get(key, absent)):
            yield Change(key, name, _both(was, now), _NEWER)
    if old.get("aliases", []) != new.get("aliases", []):
        seen = "payloads are read by them from now on"
        yield Change("aliases", name, _both(old.get("aliases"), new.get("aliases")), seen)
    if old.get("default") != new.get("default"):  # that null is the default is told with "optional"
        yield Change("default", name, _both(*(c.get("default", "none") for c in (old, new))), _NEWER)
    if old.get("doc") != new.get("doc"):
        yield Change("doc", name, _both(old.get("doc"), new.get("doc")))


def _rules(old: Mapping[str, CrossRule], new: Mapping[str, CrossRule]) -> Iterator[Change]:
    for name in [*old, *(n for n in new if n not in old)]:
        was, now = (_rule(rules.get(name)) for rules in (old, new))
        if was != now:
            yield Change("rule", name, f"was {was}, is {now}", _NEWER)


def _rule(rule: CrossRule | None) -> str:
    return "none" if rule is None else f"{rule.text} ({rule.on_violation} {', '.join(rule.fields)})"


def _exact(node: Node) -> str:
    return f"decimal({node.precision}, {node.scale})" if node.precision else f"{node.kind} of {node.size} bytes"


def _both(old: object, new: object) -> str:
    return f"was {_text(old)}, is {_text(new)}"


def _text(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
