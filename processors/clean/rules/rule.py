"""The seam of the rules: what a rule is given, and what it answers.

A new rule is a file beside this one with a function `rule(field)`, a line in `order.ORDER`, an attribute in
`headrace.contracts.attributes` where the contract must ask for it, and a line in docs/contract-reference.md.
"""

from typing import Any, Literal, NamedTuple, Protocol

import polars as pl

from headrace.contracts import times
from headrace.contracts.model import Field
from headrace.errors import PoisonError, Reason

APPEND_MS = "__append_ms"  # column: when Kafka took the reading, milliseconds since 1970 UTC
# The order in which a rule that looks back goes through the device's readings: by event_time, or as they arrived.
Order = Literal["time", "log"]
LOOKED_UP: dict[Order, tuple[str, ...]] = {"time": ("before",), "log": ("last", "same", "lasted")}


class Suspect(NamedTuple):
    """One value where the screen of some rule of its field is true."""

    value: Any  # as stored: a timestamp is a number, an array is a list; never None
    append_ms: int
    before: Any = None  # order "time": the field's value in the device's reading before, if there is one
    last: Any = None  # order "log": the same
    same: int | None = None  # order "log": how many readings in a row, with this one, have this value
    lasted: int | None = None  # order "log": microseconds since the first of those was taken


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
    def looks_back(self) -> Order | None:
        """In which order, if the rule needs `looked_up(field, ...)` and those columns of its `Suspect`.

        See `processors.clean.history` for "time", `processors.clean.arrivals` for "log".
        """

    @property
    def screen(self) -> pl.Expr | None:
        """True exactly for the rows that break the rule; null is as good as false.

        The columns are `column(field)`, APPEND_MS and, if the rule looks back, `looked_up(field, ...)`. None: wherever
        this rule is broken, the screen of another rule of the field is true.
        """

    def verdict(self, suspect: Suspect) -> Change | PoisonError | None:
        """What becomes of the value, or of its whole reading. None: it keeps this rule.

        Where the value stays, the rules that follow are asked too.
        """


def column(field: Field) -> pl.Expr:
    """The field's values as stored: a timestamp is a number."""
    return pl.col(field.name).to_physical() if field.logical else pl.col(field.name)


def looked_up(field: Field, what: str) -> pl.Expr:
    """What a look-back says of the field's values: see LOOKED_UP and `Suspect`; null if there is no reading before."""
    return pl.col(looked_up_name(field.name, what))


def looked_up_name(field: str, what: str) -> str:
    """The name of that column."""
    return f"__{what}_{field}"


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
    text = f"{field.name}{index} = {shown(field, value)} {what}"
    return PoisonError(reason, text, field=field.name, value=str(value), rule=rule)


def shown(field: Field, value: Any) -> str:
    """A value, as stored, in words: with its unit; a time as number and date."""
    if field.logical in times.TICKS:
        return times.stored(value, field.logical, field.time_unit) + ","
    return f"{value} {field.unit}" if field.unit else str(value)
