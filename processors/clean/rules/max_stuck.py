"""max_stuck, max_stuck_seconds: how long a number may stay the same. `Arrivals` says for how long it has."""

from typing import NamedTuple

import polars as pl

from headrace.contracts.model import Field
from headrace.errors import PoisonError, Reason
from processors.clean.rules.rule import Change, Order, Rule, Suspect, act, looked_up

_PER_SECOND = 1_000_000


class MaxStuck(NamedTuple):
    """A value that stays for too long becomes null, is noted, or the reading is refused, until it is another."""

    field: Field
    readings: int | None
    seconds: float | None
    names: tuple[str, ...] = ("max_stuck",)
    looks_back: Order | None = "log"

    @property
    def screen(self) -> pl.Expr:
        """See `rule.Rule`."""
        same, lasted = looked_up(self.field, "same"), looked_up(self.field, "lasted")
        many = [] if self.readings is None else [same > self.readings]
        long = [] if self.seconds is None else [lasted > self._micros()]
        return pl.any_horizontal(*many, *long)

    def verdict(self, suspect: Suspect) -> Change | PoisonError | None:
        """See `rule.Rule`."""
        if suspect.same is not None and self.readings is not None and suspect.same > self.readings:
            what = f"is the same in {suspect.same:,} readings in a row, {self.readings:,} are allowed"
        elif suspect.lasted is not None and self.seconds is not None and suspect.lasted > self._micros():
            what = f"has been the same for {suspect.lasted / _PER_SECOND:g} s, {self.seconds:g} s are allowed"
        else:
            return None
        return act(self.field, "max_stuck", Reason.OUT_OF_RANGE, suspect.value, what)

    def _micros(self) -> int:
        return int(float(self.seconds or 0) * _PER_SECOND)


def rule(field: Field) -> Rule | None:
    """The rule on `field`; None when it may stay the same."""
    if field.max_stuck is None and field.max_stuck_seconds is None:
        return None
    return MaxStuck(field, field.max_stuck, field.max_stuck_seconds)
