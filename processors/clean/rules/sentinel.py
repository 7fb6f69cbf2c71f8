"""sentinels: numbers and texts that a device sends when it has no value."""

from typing import Any, NamedTuple

import polars as pl

from headrace.contracts.avro import NUMBERS
from headrace.contracts.model import Field
from headrace.errors import PoisonError, Reason
from processors.clean.rules.numbers import FLOATS, as_stored, limits
from processors.clean.rules.rule import Change, Order, Rule, Suspect, act, column


class Sentinel(NamedTuple):
    """A sentinel becomes null, unless `on_violation` names it; a required field refuses the reading."""

    field: Field
    marks: list[Any]
    screen: pl.Expr | None
    names: tuple[str, ...] = ("sentinel",)
    looks_back: Order | None = None

    def verdict(self, suspect: Suspect) -> Change | PoisonError | None:
        """See `rule.Rule`."""
        if suspect.value not in self.marks:
            return None
        return act(self.field, "sentinel", Reason.SENTINEL, suspect.value, "stands for no value")


def rule(field: Field) -> Rule | None:
    """The rule on `field`; None when it has no sentinels."""
    marks = _marks(field)
    if not marks:
        return None
    inside = [m for m in marks if isinstance(m, str) or limits(field).breaks(m) is None]  # others: see limit.py
    return Sentinel(field, marks, column(field).is_in(inside) if inside else None)


def _marks(field: Field) -> list[Any]:
    """The sentinels that a value of the field can be equal to, as stored."""
    if field.kind == "string":
        return [s for s in field.sentinels if isinstance(s, str)]
    if field.kind not in NUMBERS:
        return []
    numbers = [s for s in field.sentinels if not isinstance(s, str)]
    if field.kind in FLOATS:
        return [as_stored(field.kind, s) for s in numbers]
    return [int(s) for s in numbers if s == int(s) and abs(s) < 2**63]
