"""`rules` of a contract: conditions across its fields, each with a name and what happens where it does not hold."""

import difflib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from headrace.contracts.expressions import Expression, Kind, parse
from headrace.contracts.violations import RULES
from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.contracts.model import Field

CrossAction = Literal["reject", "null", "flag"]
MAX_RULES = 50
_KEYS = ("name", "expression", "on_violation", "fields", "doc")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_KINDS: dict[str, Kind] = {
    "int": "number", "long": "number", "float": "number", "double": "number", "string": "text", "enum": "text",
    "boolean": "truth",
}  # fmt: skip


class CrossRule(NamedTuple):
    """A condition that should hold of a reading; where a value that it names is missing, it says nothing."""

    name: str
    text: str
    expression: Expression
    on_violation: CrossAction
    fields: tuple[str, ...]  # that are nulled or noted


def kind_of(field: "Field") -> Kind | None:
    """What a field is in an expression; a timestamp is a number: seconds since 1970 UTC. None: it can't be used."""
    if field.logical == "decimal" or field.name.startswith("_"):
        return None
    return _KINDS.get(field.kind)


def read_rules(raw: object, fields: "Mapping[str, Field]") -> tuple[CrossRule, ...]:
    """The rules that a contract has under `rules`. ConfigError for what can't be one, with its place and a remedy."""
    if raw is None:
        return ()
    if not isinstance(raw, list) or len(raw) > MAX_RULES or not all(isinstance(r, dict) for r in raw):
        raise ConfigError(
            f"rules must be a list of at most {MAX_RULES} objects, such as "
            '{"name": "dew", "expression": "dew_point <= temperature + 0.5", "on_violation": "flag"}'
        )
    kinds = {name: kind_of(f) for name, f in fields.items()}
    out = [_rule(it, i, fields, kinds) for i, it in enumerate(raw)]
    taken: dict[str, int] = {}
    for i, rule in enumerate(out):
        if taken.setdefault(rule.name, i) != i:
            raise ConfigError(f"rules[{i}]: another rule is called {rule.name} already. Rename one")
    return tuple(out)


def _rule(raw: dict[str, Any], i: int, fields: "Mapping[str, Field]", kinds: Mapping[str, Kind | None]) -> CrossRule:
    name = raw.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise ConfigError(f"rules[{i}]: name must be small letters, digits and underscores, not {name!r:.60}")
    place = f"rule {name}"
    if name in RULES or name == "max_items":
        raise ConfigError(f"{place}: a rule of fields has that name. Choose another")
    for key in raw:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"a rule has {', '.join(_KEYS)}"
            raise ConfigError(f"{place}: {key!r:.60} is not known; {hint}")
    try:
        expression = parse(raw.get("expression", ""), kinds)
    except ConfigError as e:
        raise ConfigError(f"{place}: {e}") from None
    action = raw.get("on_violation", "reject")
    if action not in get_args(CrossAction):
        hint = ". It has no bound that a value could become" if action == "clamp" else ""
        raise ConfigError(f"{place}: on_violation is {action!r:.60}; it must be one of reject, null, flag{hint}")
    acted = raw.get("fields", list(expression.fields))
    if not isinstance(acted, list) or not acted or not all(isinstance(f, str) for f in acted):
        raise ConfigError(f"{place}: fields must be a list of names: the fields that are nulled or noted")
    _check_fields(acted, action, place, fields)
    return CrossRule(name, raw["expression"], expression, action, tuple(dict.fromkeys(acted)))


def _check_fields(acted: list[str], action: str, place: str, fields: "Mapping[str, Field]") -> None:
    for name in acted:
        if name not in fields or name.startswith("_"):
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else "name some of the contract"
            raise ConfigError(f"{place}: fields has {name!r:.60}, which is no field of the contract; {hint}")
        if action == "null" and not fields[name].nullable:
            raise ConfigError(
                f"{place}: on_violation null needs optional fields, and {name} is required. "
                'Write its type as ["null", ...], default null; or name in "fields" those that may become null'
            )
