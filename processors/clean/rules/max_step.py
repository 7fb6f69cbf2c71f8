"""max_step: how far a number may be from the device's reading before it. `History` says which reading that is."""

import math
from typing import Any, NamedTuple

import polars as pl

from headrace.contracts.model import Field
from headrace.errors import PoisonError, Reason
from processors.clean.rules.numbers import FLOATS
from processors.clean.rules.rule import Change, Order, Rule, Suspect, act, column, looked_up

# A step of exactly max_step passes, though 20.1 - 20 is a little more than 0.1 in floats: relative to each value.
_ROUNDING = {"float": 2.0**-23, "double": 2.0**-51}


class MaxStep(NamedTuple):
    """A value too far from the one before becomes null, or the reading is refused."""

    field: Field
    step: float
    names: tuple[str, ...] = ("max_step",)
    looks_back: Order | None = "time"

    @property
    def screen(self) -> pl.Expr:
        """See `rule.Rule`."""
        value, other = column(self.field), looked_up(self.field, "before")
        if self.field.kind in FLOATS:
            value, other = value.cast(pl.Float64), other.cast(pl.Float64)
            rounding = _ROUNDING[self.field.kind]
            return (value - other).abs() > self.step + (value.abs() * rounding + other.abs() * rounding)
        return (value.cast(pl.Int128) - other.cast(pl.Int128)).abs() > pl.lit(math.floor(self.step), pl.Int128)

    def verdict(self, suspect: Suspect) -> Change | PoisonError | None:
        """See `rule.Rule`."""
        if suspect.before is None or not self._is_far(suspect.value, suspect.before):
            return None
        what = f"is more than {self.step} away from {suspect.before}, the value before it"
        return act(self.field, "max_step", Reason.OUT_OF_RANGE, suspect.value, what)

    def _is_far(self, value: Any, other: Any) -> bool:
        rounding = _ROUNDING.get(self.field.kind, 0)
        return bool(abs(value - other) > self.step + (abs(value) * rounding + abs(other) * rounding))


def rule(field: Field) -> Rule | None:
    """The rule on `field`; None when it has no max_step."""
    return None if field.max_step is None else MaxStep(field, field.max_step)
