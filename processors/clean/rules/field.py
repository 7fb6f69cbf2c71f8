"""All rules of one field on a batch of readings."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from headrace.contracts.model import Field
from headrace.errors import PoisonError
from processors.clean.rules.numbers import FLOATS
from processors.clean.rules.order import rules_on
from processors.clean.rules.rule import APPEND_MS, LOOKED_UP, Change, Order, Rule, Suspect, column, looked_up


@dataclass(frozen=True, slots=True)
class FieldRules:
    """The rules of one field, at least one."""

    name: str
    rules: tuple[Rule, ...]
    screen: pl.Expr  # true exactly for the rows that break a rule
    usable: pl.Expr  # true exactly for the rows whose value can be compared with others: see `_usable`
    value: pl.Expr
    orders: tuple[Order, ...]  # in which its rules look back
    looked_up: tuple[pl.Expr, ...]  # what they find, as `Suspect` has it

    def verdicts(self, frame: pl.DataFrame) -> Iterator[tuple[int, Change | PoisonError]]:
        """(row, what becomes of it) for each row that breaks a rule of this field; several where the value stays."""
        mask = frame.select(self.screen.fill_null(value=False).alias("mask"))["mask"]
        columns = [self.value.alias("value"), pl.col(APPEND_MS), *self.looked_up]
        ask = [rule.verdict for rule in self.rules]
        for i, values in zip(mask.arg_true().to_list(), frame.select(columns).filter(mask).rows(), strict=True):
            suspect = Suspect(*values)
            for verdict in ask:
                answer = verdict(suspect)
                if answer is None:
                    continue
                yield i, answer
                if not (isinstance(answer, Change) and answer.stays):
                    break


def field_rules(it: Field) -> FieldRules | None:
    """The rules of the field; None if it has none."""
    rules = rules_on(it)
    if not rules:
        return None
    orders = tuple(order for order in LOOKED_UP if any(rule.looks_back == order for rule in rules))
    screens = [screen for rule in rules if (screen := rule.screen) is not None]
    return FieldRules(
        it.name,
        rules,
        pl.any_horizontal(screens),
        _usable(it, rules),
        column(it),
        orders,
        tuple(
            looked_up(it, what) if order in orders else pl.lit(None).alias(what)
            for order, found in LOOKED_UP.items()
            for what in found
        ),
    )


def _usable(it: Field, rules: tuple[Rule, ...]) -> pl.Expr:
    """True for the rows whose value is there, finite, and keeps each rule that neither looks back nor only notes."""
    keeps = [column(it).is_not_null(), *([column(it).is_finite()] if it.kind in FLOATS else [])]
    for rule in rules:
        noted = all(it.on_violation.get(name) == "flag" for name in rule.names)
        if not (rule.looks_back or noted) and rule.screen is not None:
            keeps.append(~rule.screen.fill_null(value=False))
    return pl.all_horizontal(keeps)
