"""not_finite: NaN and the infinities are not values of anything. Every float and double has this rule."""

import math
from typing import NamedTuple

import polars as pl

from headrace.contracts.model import Field
from headrace.contracts.written import number_kind
from headrace.errors import PoisonError, Reason
from processors.clean.rules.numbers import FLOATS
from processors.clean.rules.rule import Change, Order, Rule, Suspect, act, column

_WHAT = "is not a number that can be measured"


class NotFinite(NamedTuple):
    """The value becomes null or the reading is refused. Of an array, the first such item decides."""

    field: Field
    names: tuple[str, ...] = ("not_finite",)
    looks_back: Order | None = None

    @property
    def screen(self) -> pl.Expr | None:
        """See `rule.Rule`. A range with both ends finds these too: polars orders NaN above every number."""
        if self.field.minimum is not None and self.field.maximum is not None:
            return None
        if self.field.kind == "array":
            return column(self.field).list.eval(~pl.element().is_finite()).list.any()
        return ~column(self.field).is_finite()

    def verdict(self, suspect: Suspect) -> Change | PoisonError | None:
        """See `rule.Rule`."""
        if self.field.kind == "array":
            for i, item in enumerate(suspect.value):
                if not math.isfinite(item):
                    return act(self.field, "not_finite", Reason.NOT_FINITE, item, _WHAT, f"[{i}]")
            return None
        if math.isfinite(suspect.value):
            return None
        return act(self.field, "not_finite", Reason.NOT_FINITE, suspect.value, _WHAT)


def rule(field: Field) -> Rule | None:
    """The rule on `field`; None when its values are not floats or doubles."""
    return NotFinite(field) if number_kind(field.type) in FLOATS else None
