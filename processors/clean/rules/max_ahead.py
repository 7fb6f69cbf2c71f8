"""max_ahead_seconds: how far a timestamp may be ahead of the time at which Kafka took the reading."""

from typing import NamedTuple

import polars as pl

from headrace.contracts import times
from headrace.contracts.model import Field
from headrace.errors import PoisonError, Reason
from processors.clean.rules.numbers import PER_SECOND
from processors.clean.rules.rule import APPEND_MS, Change, Order, Rule, Suspect, act, column


class MaxAhead(NamedTuple):
    """A time too far ahead becomes null, or the reading is refused."""

    field: Field
    seconds: float
    names: tuple[str, ...] = ("max_ahead",)
    looks_back: Order | None = None

    @property
    def screen(self) -> pl.Expr:
        """See `rule.Rule`."""
        per_ms, ahead = self._scale()
        return column(self.field) > pl.col(APPEND_MS) * per_ms + ahead

    def verdict(self, suspect: Suspect) -> Change | PoisonError | None:
        """See `rule.Rule`."""
        per_ms, ahead = self._scale()
        if suspect.value <= suspect.append_ms * per_ms + ahead:
            return None
        arrival = times.date(suspect.append_ms * 1_000_000)
        what = f"is more than {self.seconds:g} s ahead of its arrival in Kafka, {arrival}"
        return act(self.field, "max_ahead", Reason.FUTURE_TIME, suspect.value, what)

    def _scale(self) -> tuple[int, int]:
        """(the field's units in a millisecond, the time allowed in the field's units)."""
        per_second = PER_SECOND[self.field.logical or ""]
        return per_second // 1000, int(float(self.seconds) * per_second)


def rule(field: Field) -> Rule | None:
    """The rule on `field`; None when it has no max_ahead_seconds."""
    return None if field.max_ahead_seconds is None else MaxAhead(field, field.max_ahead_seconds)
