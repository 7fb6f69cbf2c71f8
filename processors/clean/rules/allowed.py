"""allowed: the only values that a text or a whole number may have."""

from typing import NamedTuple

import polars as pl

from headrace.contracts.model import Field
from headrace.errors import PoisonError, Reason
from processors.clean.rules.rule import Change, Order, Rule, Suspect, act, column

_NAMED = 5  # values in a message


class Allowed(NamedTuple):
    """Any other value becomes null, is noted, or the reading is refused."""

    field: Field
    values: frozenset[int | str]
    names: tuple[str, ...] = ("allowed",)
    looks_back: Order | None = None

    @property
    def screen(self) -> pl.Expr:
        """See `rule.Rule`."""
        return ~column(self.field).is_in(list(self.field.allowed))

    def verdict(self, suspect: Suspect) -> Change | PoisonError | None:
        """See `rule.Rule`."""
        if suspect.value in self.values:
            return None
        some = ", ".join(map(str, self.field.allowed[:_NAMED])) + (", ..." if len(self.values) > _NAMED else "")
        return act(self.field, "allowed", Reason.NOT_ALLOWED, suspect.value, f"is none of {some}")


def rule(field: Field) -> Rule | None:
    """The rule on `field`; None when any value is allowed."""
    return Allowed(field, frozenset(field.allowed)) if field.allowed else None
