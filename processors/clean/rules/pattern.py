"""pattern: a regular expression for the whole text. Both ways ask the same engine, which takes linear time."""

from typing import NamedTuple

import polars as pl

from headrace.contracts.enumerated import pattern_problem, whole
from headrace.contracts.model import Field
from headrace.errors import ConfigError, PoisonError, Reason
from processors.clean.rules.rule import Change, Order, Rule, Suspect, act, column


class Pattern(NamedTuple):
    """A text that does not match becomes null, is noted, or the reading is refused."""

    field: Field
    pattern: str
    names: tuple[str, ...] = ("pattern",)
    looks_back: Order | None = None

    @property
    def screen(self) -> pl.Expr:
        """See `rule.Rule`."""
        return ~column(self.field).str.contains(whole(self.pattern))

    def verdict(self, suspect: Suspect) -> Change | PoisonError | None:
        """See `rule.Rule`."""
        if pl.Series([suspect.value]).str.contains(whole(self.pattern)).item():
            return None
        what = f"does not match the pattern {self.pattern}"
        return act(self.field, "pattern", Reason.NOT_ALLOWED, suspect.value, what)


def rule(field: Field) -> Rule | None:
    """The rule on `field`; None when it has no pattern. ConfigError for one that is no regular expression."""
    if field.pattern is None:
        return None
    problem = pattern_problem(field.pattern)
    if problem is not None:
        raise ConfigError(f"field {field.name}: {problem}")
    return Pattern(field, field.pattern)
