"""The seam of the rules: what a rule is given, and what it answers.

A new rule is a file beside this one with a function `rule(field)`, a line in `order.ORDER`, an attribute in
`headrace.contracts.attributes` where the contract must ask for it, and a line in docs/contracts.md.
"""

from typing import Any, NamedTuple, Protocol

import polars as pl

from headrace.contracts import times
from headrace.contracts.model import Field
from headrace.errors import PoisonError, Reason

APPEND_MS = "__append_ms"  # column: when Kafka took the reading, milliseconds since 1970 UTC
_BEFORE = "__before_"


class Suspect(NamedTuple):
    """One value where the screen of some rule of its field is true."""

    value: Any  # as stored: a timestamp is a number, an array is a list; never None
    append_ms: int
    before: Any = None  # of a rule that looks back: the field's value in the device's reading before, if there is one


class Change(NamedTuple):
    """A value that cleaning replaces; or, where it `stays`, one that it notes only."""

    field: str
    value: Any  # None, a number, or an array's items, as stored
    note: str  # for `_quality`: field:rule:action
    stays: bool = False


class Rule(Protocol):
    """One rule on one field. Its answers depend on what it is given, on nothing else: no clock, no earlier call.

    `screen` is evaluated on whole batches, `verdict` only on rows where a screen of the field is true.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """What `_quality` and `on_violation` call the rule."""

    @property
    def looks_back(self) -> bool:
        """Whether the rule needs `before(field)` and `Suspect.before`: see `processors.clean.history`."""

    @property
    def screen(self) -> pl.Expr | None:
        """True exactly for the rows that break the rule; null is as good as false.

        The columns are `column(field)`, APPEND_MS and, if the rule looks back, `before(field)`. None: wherever this
        rule is broken, the screen of another rule of the field is true.
        """

    def verdict(self, suspect: Suspect) -> Change | PoisonError | None:
        """What becomes of the value, or of its whole reading. None: it keeps this rule.

        Where the value stays, the rules that follow are asked too.
        """


def column(field: Field) -> pl.Expr:
    """The field's values as stored: a timestamp is a number."""
    return pl.col(field.name).to_physical() if field.logical else pl.col(field.name)


def before(field: Field) -> pl.Expr:
    """The field's value in the device's reading before, as stored; null if there is none."""
    return pl.col(before_name(field.name))


def before_name(field: str) -> str:
    """The name of that column."""
    return _BEFORE + field


def act(field: Field, rule: str, reason: Reason, value: Any, what: str, index: str = "") -> Change | PoisonError:
    """What the contract does with a value that breaks `rule`: note it, null it, or refuse the reading: see `refusal`.

    A rule with a bound clamps by itself.
    """
    match field.on_violation[rule]:
        case "flag":
            return flag(field, rule)
        case "null":
            return change(field, rule, "null", None)
        case _:
            return refusal(field, rule, reason, value, what, index)


def change(field: Field, rule: str, action: str, value: Any) -> Change:
    """Replace the value, and note which rule did it."""
    return Change(field.name, value, f"{field.name}:{rule}:{action}")


def flag(field: Field, rule: str) -> Change:
    """Note the rule, and let the value stay."""
    return Change(field.name, None, f"{field.name}:{rule}:flag", stays=True)


def refusal(field: Field, rule: str, reason: Reason, value: Any, what: str, index: str = "") -> PoisonError:
    """The error for a value that can't stay; `what` follows "name = value unit", `index` the name of an array."""
    text = f"{field.name}{index} = {_shown(field, value)} {what}"
    return PoisonError(reason, text, field=field.name, value=str(value), rule=rule)


def _shown(field: Field, value: Any) -> str:
    """The value with its unit; a time as number and date."""
    if field.logical in times.TICKS:
        return times.stored(value, field.logical, field.time_unit) + ","
    return f"{value} {field.unit}" if field.unit else str(value)
