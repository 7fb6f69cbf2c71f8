"""minimum and maximum: the valid range of a number, or of each item of an array. Both ends are valid."""

from typing import Any, NamedTuple

import polars as pl

from headrace.contracts import times
from headrace.contracts.model import Field
from headrace.contracts.written import number_kind
from headrace.errors import PoisonError, Reason
from processors.clean.rules.numbers import Limits, limits, literal
from processors.clean.rules.rule import Change, Order, Rule, Suspect, act, change, column


class Limit(NamedTuple):
    """A value outside becomes the bound or null, is noted, or the reading is refused.

    Of an array, all items are clamped or noted; else the first item outside that is neither decides.
    """

    field: Field
    limits: Limits
    names: tuple[str, ...]
    looks_back: Order | None = None

    @property
    def screen(self) -> pl.Expr:
        """See `rule.Rule`."""
        if self.field.kind == "array":
            return column(self.field).list.eval(self._outside(pl.element())).list.any()
        return self._outside(column(self.field))

    def verdict(self, suspect: Suspect) -> Change | PoisonError | None:
        """See `rule.Rule`."""
        if self.field.kind == "array":
            return self._items(suspect.value)
        broken = self.limits.breaks(suspect.value)
        if broken is None:
            return None
        if self.field.on_violation[broken] == "clamp":
            return change(self.field, broken, "clamp", self._bound(broken))
        return self._act(broken, suspect.value)

    def _items(self, items: list[Any]) -> Change | PoisonError | None:
        broken = {i: limit for i, item in enumerate(items) if (limit := self.limits.breaks(item)) is not None}
        if not broken:
            return None
        does = self.field.on_violation
        for i, limit in broken.items():
            if does[limit] in {"reject", "null"}:
                return self._act(limit, items[i], f"[{i}]")
        kept = [self._bound(broken[i]) if does.get(broken.get(i, "")) == "clamp" else v for i, v in enumerate(items)]
        notes = [f"{self.field.name}:{limit}:{does[limit]}" for limit in sorted(set(broken.values()))]
        return Change(self.field.name, kept, ";".join(notes))

    def _act(self, broken: str, value: Any, index: str = "") -> Change | PoisonError:
        side, bound = ("below", self.field.minimum) if broken == "minimum" else ("above", self.field.maximum)
        logical = self.field.logical
        shown = times.bound(bound, logical) if bound is not None and logical in times.TICKS else bound
        return act(self.field, broken, Reason.OUT_OF_RANGE, value, f"is {side} the {broken} of {shown}", index)

    def _bound(self, broken: str) -> Any:
        return self.limits.low if broken == "minimum" else self.limits.high

    def _outside(self, value: pl.Expr) -> pl.Expr:
        kind, (low, high) = number_kind(self.field.type), self.limits
        if low is None:
            return value > literal(kind, high)
        if high is None:
            return value < literal(kind, low)
        return ~value.is_between(literal(kind, low), literal(kind, high))


def rule(field: Field) -> Rule | None:
    """The rule on `field`; None when it has neither a minimum nor a maximum."""
    names = tuple(name for name in ("minimum", "maximum") if getattr(field, name) is not None)
    return Limit(field, limits(field), names) if names else None
