"""The next version of a contract, for a new sample: it takes the sample, and can read what was stored before.

What stands in the contract stays: names, types, units, rules, docs. A number may become wider, a list longer, and new
keys become optional fields.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.contracts.kinds import UNSETTLED
from headrace.contracts.model import Contract, parse
from headrace.contracts.naming import field_name, member_name
from headrace.contracts.sample import columns_of
from headrace.contracts.write import as_text
from headrace.protocol.names import DEVICE, EXTRA, QUALITY, TIME

_LAST = (EXTRA, QUALITY)
_OURS = frozenset({DEVICE, TIME, *_LAST})
# Type of the contract, type of the sample: what holds both. A float was chosen by somebody, and takes any number.
_WIDER = {("int", "long"): "long", ("int", "double"): "double", ("long", "double"): "double"}
_TAKES = {  # what a type takes beside itself
    "double": {"long", "decimal"},
    "float": {"long", "double"},
    "long": {"int"},
    "enum": {"string"},
    "bytes": {"string"},
    "fixed": {"string"},
    "decimal": {"double", "long", "string"},
    "timestamp-micros": {"double", "long", "string"},
    "timestamp-millis": {"double", "long", "string"},
}


@dataclass
class Again:
    """`problems`: why no compatible version takes the sample. `hints`: for a person to judge."""

    contract: Contract
    problems: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)


def merge(
    old: Contract, new: Contract, readings: Sequence[dict[str, Any]], captured: Sequence[str] = (), *, stored: bool
) -> Again:
    """The next version of `old`. `new` is what the sample `readings` alone would make, with the topic's `captured`.

    `stored`: there are, or may be, readings of the old version. If there are none, a field without a type so far gets
    the one that the sample shows.
    """
    merger = _Merger(old.schema, stored=stored)
    made = merger.fields(old.schema["fields"], new.schema["fields"], "")
    columns = columns_of(readings)
    for f in old.fields:
        values = [v for key in (f.name, *f.aliases) for v in columns.get(key, [])]
        if not f.nullable and f.name not in _OURS and f.name not in captured and len(values) < len(readings):
            merger.hints.append(
                f"{f.name} is required, and not in every message: a message without it is a dead letter. Make it "
                'optional ("type": ["null", ...], "default": null), unless that is meant'
            )
    contract = parse(old.name, as_text({**old.schema, "fields": made}), f"the next version of {old.name}")
    return Again(contract, merger.problems, merger.hints)


class _Merger:
    def __init__(self, schema: dict[str, Any], *, stored: bool) -> None:
        self.problems: list[str] = []
        self.hints: list[str] = []
        self._stored = stored
        self._records = set(_records(schema))

    def fields(self, old: list[dict[str, Any]], new: list[dict[str, Any]], above: str) -> list[dict[str, Any]]:
        """The fields of a record: the old ones, then those of the new that none of the old is fed by."""
        by_key = {key: f for f in new for key in (f["name"], *f.get("aliases", ()))}
        out, used = [], set()
        for f in old:
            own = [by_key[key] for key in (f["name"], *f.get("aliases", ())) if key in by_key]
            used |= {g["name"] for g in own}
            ours = not above and f["name"] in _OURS
            out.append(self._field(f, own[0], f"{above}{f['name']}") if own and not ours else f)
        names = [f["name"] for f in out]
        for g in new:
            if g["name"] not in used:
                out.append(self._unique(_named(g, names, top=not above)))
                names.append(out[-1]["name"])
        last = [] if above else [name for name in _LAST if name in names]
        return sorted(out, key=lambda f: last.index(f["name"]) + 1 if f["name"] in last else 0)

    def _field(self, f: dict[str, Any], g: dict[str, Any], path: str) -> dict[str, Any]:
        old, new = _inner(f["type"]), _inner(g["type"])
        before, now = _kind(old), _kind(new)
        if g.get("json") and (g["doc"] == UNSETTLED or f.get("json")):
            return f
        if f.get("json"):
            if f.get("doc") == UNSETTLED and not self._stored:
                keys = [k for k in (*f.get("aliases", ()), *g.get("aliases", ()), g["name"]) if k != f["name"]]
                made = {**self._unique(g), "name": f["name"], "aliases": list(dict.fromkeys(keys))}
                return made if made["aliases"] else {k: v for k, v in made.items() if k != "aliases"}
            self.hints.append(f"{path} stays JSON text, as readings of it may be stored; in the sample it is {now}")
            return f
        if before == "record" and now == "record":
            inner = {**old, "fields": self.fields(old["fields"], new["fields"], f"{path}.")}
            return {**f, "type": _outer(f["type"], inner)}
        if before == "array" and now == "array":
            return self._array(f, g, path)
        if g.get("json"):
            now = "JSON text"
        wider = _WIDER.get((before, now))
        if wider and f.get("role"):
            self.problems.append(f"{path} has the role {f['role']} and is {before}; in the sample it is {now}")
        elif wider:
            return {**f, "type": _outer(f["type"], wider)}
        elif before != now and now not in _TAKES.get(before, ()):
            shown = "an object" if now == "record" else f"a list of {_kind(new['items'])}" if now == "array" else now
            self.problems.append(f"{path} is {before} in the contract, and {shown} in the sample")
        if "sentinels" in g and "sentinels" not in f and isinstance(f["type"], list):
            return {**f, "sentinels": g["sentinels"]}
        return f

    def _array(self, f: dict[str, Any], g: dict[str, Any], path: str) -> dict[str, Any]:
        old, new = _inner(f["type"]), _inner(g["type"])
        before, now = _kind(old["items"]), _kind(new["items"])
        wider = _WIDER.get((before, now))
        if not wider and before != now and now not in _TAKES.get(before, ()):
            self.problems.append(f"{path} is a list of {before} in the contract, and of {now} in the sample")
        items = wider or old["items"]
        return {
            **f,
            "type": _outer(f["type"], {**old, "items": items}),
            "max_items": max(f["max_items"], g["max_items"]),
        }

    def _unique(self, f: dict[str, Any]) -> dict[str, Any]:
        """A new record must not have the name of an old one."""
        inner = _inner(f["type"])
        if not isinstance(inner, dict) or inner.get("type") != "record":
            return f
        name, n = inner["name"], 2
        while name in self._records:
            name, n = f"{inner['name']}_{n}", n + 1
        self._records.add(name)
        made = {**inner, "name": name, "fields": [self._unique(m) for m in inner["fields"]]}
        return {**f, "type": _outer(f["type"], made)}


def _named(f: dict[str, Any], taken: Sequence[str], *, top: bool) -> dict[str, Any]:
    """A new field, under another name where an old one has its name."""
    name = f["name"] if f["name"] in _LAST and top else (field_name if top else member_name)(f["name"], taken)
    return f if name == f["name"] else {**f, "name": name, "aliases": f.get("aliases") or [f["name"]]}


def _records(schema: Any) -> Iterator[str]:
    inner = _inner(schema)
    if not isinstance(inner, dict):
        return
    if "name" in inner:
        yield inner["name"]
    for f in inner.get("fields", ()):
        yield from _records(f["type"])


def _inner(schema: Any) -> Any:
    return next((s for s in schema if s != "null"), "null") if isinstance(schema, list) else schema


def _outer(schema: Any, inner: Any) -> Any:
    return ["null", inner] if isinstance(schema, list) else inner


def _kind(schema: Any) -> str:
    if not isinstance(schema, dict):
        return str(schema)
    return str(schema.get("logicalType") or schema["type"])
