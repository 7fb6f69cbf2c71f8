"""max_gap_seconds: how much later than the device's reading before it a reading may be. A gap is only noted."""

from typing import NamedTuple

import polars as pl

from headrace.contracts.model import Field
from processors.clean.rules.numbers import PER_SECOND
from processors.clean.rules.rule import Change, Order, Rule, Suspect, column, flag, looked_up


class MaxGap(NamedTuple):
    """The reading after a gap is noted: what is missing is missing before it."""

    field: Field
    seconds: float
    names: tuple[str, ...] = ("max_gap",)
    looks_back: Order | None = "time"

    @property
    def screen(self) -> pl.Expr:
        """See `rule.Rule`."""
        return column(self.field) - looked_up(self.field, "before") > self._ticks()

    def verdict(self, suspect: Suspect) -> Change | None:
        """See `rule.Rule`."""
        if suspect.before is None or suspect.value - suspect.before <= self._ticks():
            return None
        return flag(self.field, "max_gap")

    def _ticks(self) -> int:
        return int(float(self.seconds) * PER_SECOND[self.field.logical or ""])


def rule(field: Field) -> Rule | None:
    """The rule on `field`; None when it has no max_gap_seconds."""
    return None if field.max_gap_seconds is None else MaxGap(field, field.max_gap_seconds)
