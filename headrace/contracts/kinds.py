"""Which type the values of one key get: as wide as it must be, so that what the device sends next fits too."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.contracts import allowed, guess
from headrace.contracts.sample import columns_of, kinds_of

# Texts that stand for "no value" among numbers.
NO_VALUE = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "none", "-", "--", "---", "?"})
UNSETTLED = "Without a value in the sample: JSON text, until a sample with one settles its type."
MAX_SENTINELS = 32
_EXACT = 2**53  # whole numbers up to here survive in a double
_DIGITS = 38  # of a decimal, as the lake's files and SQL have it
_ITEMS = {"double": {"whole", "number"}, "string": {"text"}, "boolean": {"boolean"}}
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:[.,]\d+)?(?:[eE][+-]?\d+)?\Z")
_WORDS = {"whole": "whole numbers", "number": "numbers", "text": "text", "boolean": "true or false"}


@dataclass(frozen=True)
class Kind:
    """The type of a field. `schema`: its Avro type, or "record" where its keys become fields of their own.

    `words` names it for a person, `why` says what is not plain to see. `open`: something for a person to decide.
    """

    schema: Any
    words: str
    why: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    open: bool = False
    objects: str = ""  # a list of objects: one of their keys, a measured one where there is one
    mark: str = ""  # numbers in quotes: their decimal mark

    @property
    def is_number(self) -> bool:
        """Whether values of it are numbers, one or a list of them."""
        items = self.schema.get("items") if isinstance(self.schema, dict) else self.schema
        return items in {"double", "long"}


def kind_of(key: str, values: Sequence[Any], *, top: bool, deep: bool) -> Kind:
    """The type for the values of `key` (without nulls). `top`: of a contract's own field, where rules act.

    `deep`: no further object fits inside; it is kept as JSON text.
    """
    kinds = set(kinds_of(values))
    if not any(v not in ([], {}) for v in values):
        found = {"list": "[]", "object": "{}"}
        why = " and ".join(sorted(found[k] for k in kinds)) or "null"
        return _json(f"always {why}: a later sample settles it", doc=UNSETTLED)
    if kinds <= {"whole", "number"}:
        return _number(key, values)
    if kinds <= {"whole", "number", "text"} and kinds & {"whole", "number"}:
        return _gaps(values, top=top)
    if kinds == {"text"}:
        return _text(values)
    if kinds == {"boolean"}:
        return Kind("boolean", "boolean")
    if kinds == {"list"}:
        return _list(values)
    if kinds == {"object"}:
        named = any(name for value in values for name in value)
        return _json("too deep for columns") if deep or not named else Kind("record", "")
    return _json(f"several kinds: {', '.join(_WORDS.get(k, f'{k}s') for k in sorted(kinds))}")


def _json(why: str, **attributes: Any) -> Kind:
    return Kind("string", "JSON text", why, {"json": True, **attributes}, open=True)


def _number(key: str, values: Sequence[Any]) -> Kind:
    largest = max(abs(v) for v in values)
    if not all(isinstance(v, int) for v in values):
        cut = [v for v in values if isinstance(v, int) and abs(v) > _EXACT and int(float(v)) != v]
        return Kind("double", "double", f"{cut[0]} keeps 15 to 17 of its digits" if cut else "", open=bool(cut))
    if not all(-(2**63) <= v < 2**63 for v in values):
        if len(str(largest)) > _DIGITS:
            return _json("a number of too many digits")
        schema = {"type": "bytes", "logicalType": "decimal", "precision": _DIGITS, "scale": 0}
        return Kind(schema, "decimal", f"{largest} does not fit 64 bits: kept with every digit", open=True)
    if guess.is_whole(key):
        return Kind("long", "long", "the name counts, or names")
    if largest > _EXACT:
        return Kind("long", "long", "a double would lose digits")
    return Kind("double", "double")


def _gaps(values: Sequence[Any], *, top: bool) -> Kind:
    texts = sorted({v for v in values if isinstance(v, str)})
    odd = [t for t in texts if t not in NO_VALUE]
    if odd or not top or len(texts) > MAX_SENTINELS:
        return _json(f"a number, but also the text {(odd or texts)[0]!r:.40}")
    why = f"{', '.join(map(repr, texts))} among the numbers means no value"
    return Kind("double", "double", why, {"sentinels": texts})


def _text(values: Sequence[str]) -> Kind:
    plain = [v for v in values if v not in NO_VALUE]
    if not plain:
        return Kind("string", "string", f"{values[0]!r} means no value? Show it with one", open=True)
    if all(_NUMBER.match(v) for v in plain):
        mark = "," if any("," in v for v in plain) else "."
        comma = ", with a decimal comma" if mark == "," else ""
        return Kind("string", "string", f"a number in quotes{comma}: stays text", open=True, mark=mark)
    return Kind("string", "string")


def _list(values: Sequence[list[Any]]) -> Kind:
    items = [v for one in values for v in one]
    kinds = set(kinds_of(items))
    if kinds == {"object"}:
        inner = columns_of(items)
        numbers = [k for k, v in inner.items() if v and kinds_of(v).keys() <= {"whole", "number"} and k]
        shown = next((k for k in numbers if guess.unit(k, inner[k])), None) or next(iter([*numbers, *inner]), "")
        return replace(_json("a list of objects: see the route"), objects=shown)
    name = next((name for name, of in _ITEMS.items() if kinds <= of), None)
    if name is None:
        return _json("a list of several kinds, or of lists")
    if name == "double" and any(isinstance(v, int) and abs(v) > _EXACT for v in items):
        if not (kinds == {"whole"} and all(-(2**63) <= v < 2**63 for v in items)):
            return _json("a list of numbers that a double can't hold")
        name = "long"
    longest = max(len(one) for one in values)
    if longest > allowed.MAX_ITEMS:
        return _json("a list of too many items")
    bound = 64
    while bound < 4 * longest:
        bound *= 2
    bound = min(bound, allowed.MAX_ITEMS)
    return Kind({"type": "array", "items": name}, f"list of {name}", f"up to {bound:,} items", {"max_items": bound})
