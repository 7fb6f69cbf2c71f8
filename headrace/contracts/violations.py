"""on_violation: what cleaning does with a value that breaks a rule, for the field as a whole or rule by rule."""

import difflib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from headrace.contracts.avro import Node
from headrace.contracts.written import Raw, number_kind
from headrace.errors import ConfigError
from headrace.protocol.names import TIME

Violation = Literal["reject", "null", "clamp", "flag"]
ACTIONS: tuple[Violation, ...] = get_args(Violation)


class Named(NamedTuple):
    """A rule as `on_violation` and `_quality` name it."""

    attributes: tuple[str, ...]  # a field that has one of them has the rule
    clamps: bool = False  # whether it has a bound that a value could become
    falls_back: bool = False  # with `clamp` for the whole field: null, or reject where the field is required
    notes: bool = False  # whether all it does is note: nothing is wrong with the value itself


RULES: dict[str, Named] = {
    "sentinel": Named(("sentinels",), falls_back=True),
    "not_finite": Named((), falls_back=True),  # every float and double
    "minimum": Named(("minimum",), clamps=True),
    "maximum": Named(("maximum",), clamps=True),
    "allowed": Named(("allowed",)),
    "pattern": Named(("pattern",)),
    "max_ahead": Named(("max_ahead_seconds",), falls_back=True),
    "max_behind": Named(("max_behind_seconds",)),
    "max_step": Named(("max_step",)),
    "monotonic": Named(("monotonic",)),
    "max_stuck": Named(("max_stuck", "max_stuck_seconds")),
    "max_gap": Named(("max_gap_seconds",), falls_back=True, notes=True),
}
_NOTED: dict[str, Violation] = {rule: "flag" for rule, it in RULES.items() if it.notes}
_FLAGGED_TIME = {"max_behind", "monotonic"}  # what is only noted of event_time: the time itself is a true one


def has_rule(rule: str, raw: Raw, node: Node) -> bool:
    """Whether the field `raw`, of the type `node`, has the rule."""
    if rule == "not_finite":
        return number_kind(node) in {"float", "double"}
    if rule == "max_ahead" and raw.get("name") == TIME:
        return True
    return any(raw.get(a) is not None for a in RULES[rule].attributes)


def on_violation(raw: Raw, node: Node, place: str) -> Mapping[str, Violation]:
    """What to do with a value that breaks a rule, for every rule there is.

    ConfigError where the contract asks for what the field can't do.
    """
    written = raw.get("on_violation")
    mine = [rule for rule in RULES if has_rule(rule, raw, node)]
    if isinstance(written, dict):
        return _each(written, mine, node, place)
    if written is not None and written not in ACTIONS:
        raise ConfigError(
            f"{place}: on_violation is {written!r:.60}; it must be one of {', '.join(ACTIONS)}, or an object with one "
            f'of them for each rule, such as {{"{mine[0] if mine else "minimum"}": "flag"}}'
        )
    action: Violation = written or "reject"
    _check_null(action, "", node, place)
    if action == "clamp":
        _check_clamp(mine, place)
    fallback: Violation = "null" if node.nullable else "reject"
    out = {rule: fallback if action == "clamp" and not it.clamps else action for rule, it in RULES.items()}
    return {**out, "sentinel": fallback, **_NOTED}


def check_event_time(actions: Mapping[str, Violation]) -> str | None:
    """The problem with what the contract does with a wrong event_time; None when there is none."""
    wrong = [r for r, a in actions.items() if a != "reject" and not (a == "flag" and r in _FLAGGED_TIME | {*_NOTED})]
    if not wrong:
        return None
    return (
        "field event_time: on_violation must be reject: a reading without its true time can't be filed. "
        f"Only {' and '.join(sorted(_FLAGGED_TIME))} may be flag"
    )


def _each(written: dict[str, Any], mine: list[str], node: Node, place: str) -> Mapping[str, Violation]:
    for rule, action in written.items():
        where = f"{place}: on_violation of {rule!r:.60}"
        if rule not in RULES:
            near = difflib.get_close_matches(str(rule), RULES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the rules are {', '.join(RULES)}"
            raise ConfigError(f"{where}: there is no such rule; {hint}")
        if rule not in mine:
            has = f"It has {', '.join(mine)}" if mine else "It has none"
            raise ConfigError(f"{where}: the field has no such rule. {has}")
        if action not in ACTIONS:
            raise ConfigError(f"{where} is {action!r:.60}; it must be one of {', '.join(ACTIONS)}")
        if RULES[rule].notes and action != "flag":
            raise ConfigError(f"{where} can only be flag: nothing is wrong with the value itself. Leave it out")
        _check_null(action, f" for {rule}", node, place)
        if action == "clamp" and not RULES[rule].clamps:
            raise ConfigError(f"{where}: only minimum and maximum have a bound to clamp to. Use null, flag or reject")
    sentinel: Violation = "null" if node.nullable else "reject"
    return {**dict.fromkeys(RULES, "reject"), "sentinel": sentinel, **_NOTED, **written}


def _check_null(action: Violation, what: str, node: Node, place: str) -> None:
    if action == "null" and not node.nullable:
        raise ConfigError(
            f'{place}: on_violation null{what} needs an optional field. Write its type as ["null", ...], default null'
        )


def _check_clamp(mine: list[str], place: str) -> None:
    if not any(RULES[rule].clamps for rule in mine):
        raise ConfigError(f"{place}: on_violation clamp needs a minimum or a maximum on a number")
    for rule in mine:
        it = RULES[rule]
        if not it.clamps and not it.falls_back:
            raise ConfigError(
                f"{place}: on_violation clamp does not go with {rule}, which has no bound that the value could become. "
                f'Name the action of each rule: {{"minimum": "clamp", "maximum": "clamp", "{rule}": "null"}}'
            )
