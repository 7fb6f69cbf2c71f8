"""Every rule, in the order in which they are asked about a value. The first that refuses or changes it decides."""

from collections.abc import Callable

from headrace.contracts.model import Field
from processors.clean.rules import (
    allowed,
    limit,
    max_ahead,
    max_behind,
    max_gap,
    max_items,
    max_step,
    max_stuck,
    monotonic,
    not_finite,
    pattern,
    sentinel,
)
from processors.clean.rules.rule import Rule

ORDER: tuple[Callable[[Field], Rule | None], ...] = (
    sentinel.rule,  # no value was meant: nothing else applies
    max_items.rule,
    not_finite.rule,
    limit.rule,
    allowed.rule,
    pattern.rule,
    max_ahead.rule,
    max_behind.rule,
    max_step.rule,  # only values that keep the rules above have a reading before them, or are one
    monotonic.rule,
    max_stuck.rule,
    max_gap.rule,
)


def rules_on(field: Field) -> tuple[Rule, ...]:
    """The rules that the contract puts on `field`, in order."""
    return tuple(found for rule in ORDER if (found := rule(field)) is not None)
