"""max_items: how many items an array may hold."""

from typing import NamedTuple

import polars as pl

from headrace.contracts.model import Field
from headrace.errors import PoisonError, Reason
from processors.clean.rules.rule import Order, Rule, Suspect, column


class MaxItems(NamedTuple):
    """An array that is too long is refused, whatever `on_violation` says."""

    field: Field
    most: int
    names: tuple[str, ...] = ("max_items",)
    looks_back: Order | None = None

    @property
    def screen(self) -> pl.Expr:
        """See `rule.Rule`."""
        return column(self.field).list.len() > self.most

    def verdict(self, suspect: Suspect) -> PoisonError | None:
        """See `rule.Rule`."""
        count = len(suspect.value)
        if count <= self.most:
            return None
        text = f"{self.field.name} has {count:,} items, at most {self.most:,} are allowed"
        return PoisonError(Reason.OUT_OF_RANGE, text, field=self.field.name, value=str(count), rule="max_items")


def rule(field: Field) -> Rule | None:
    """The rule on `field`; None when it is not an array."""
    return MaxItems(field, field.max_items) if field.kind == "array" and field.max_items is not None else None
