"""monotonic: a counter, a meter or a clock that only goes forward. `Arrivals` says which reading came before."""

from typing import NamedTuple

import polars as pl

from headrace.contracts import times
from headrace.contracts.model import Field
from headrace.errors import PoisonError, Reason
from processors.clean.rules.rule import Change, Order, Rule, Suspect, act, column, looked_up


class Monotonic(NamedTuple):
    """A value that went back, or was repeated, becomes null, is noted, or the reading is refused."""

    field: Field
    may_repeat: bool
    names: tuple[str, ...] = ("monotonic",)
    looks_back: Order | None = "log"

    @property
    def screen(self) -> pl.Expr:
        """See `rule.Rule`."""
        value, last = column(self.field), looked_up(self.field, "last")
        return value < last if self.may_repeat else value <= last

    def verdict(self, suspect: Suspect) -> Change | PoisonError | None:
        """See `rule.Rule`."""
        value, last = suspect.value, suspect.last
        if last is None or not (value < last or (value == last and not self.may_repeat)):
            return None
        logical = self.field.logical
        shown = times.bound(last, logical) if logical in times.TICKS else last
        what = f"goes back: the reading that arrived before has {shown}" if value < last else "was there already"
        return act(self.field, "monotonic", Reason.OUT_OF_RANGE, value, what)


def rule(field: Field) -> Rule | None:
    """The rule on `field`; None when it may go up and down."""
    return None if field.monotonic is None else Monotonic(field, field.monotonic == "not_decreasing")
