"""Rules across fields: conditions of a contract's `rules`, compiled to columns.

They see a reading as the rules of its fields leave it: a value that became null is missing, and says nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce

import polars as pl

from headrace.contracts.crossrules import CrossRule, kind_of
from headrace.contracts.expressions import Const, Name, Op, Tree
from headrace.contracts.model import Contract, Field
from headrace.errors import PoisonError, Reason
from processors.clean.rules.numbers import FLOATS, PER_SECOND
from processors.clean.rules.rule import Change, shown

Leaf = Callable[[str], pl.Expr]  # the values of a field, as stored


class Across:
    """The rules across fields of one contract."""

    def __init__(self, contract: Contract) -> None:
        names = dict.fromkeys(name for rule in contract.rules for name in rule.expression.fields)
        self._rules = contract.rules
        self._fields = {name: contract.field(name) for name in names}
        self._broken = [~self._compiled(rule.expression.tree, pl.col) for rule in contract.rules]
        # True for the rows that break a rule as they are.
        self.screen = _any(
            pl.lit(value=False), *(~self._compiled(r.expression.tree, self._stored) for r in self._rules)
        )

    def __bool__(self) -> bool:
        return bool(self._rules)

    def concerned(self, changes: Mapping[int, Sequence[Change]]) -> Iterator[int]:
        """The rows with a changed value that a rule names."""
        for row, changed in changes.items():
            if any(c.field in self._fields and not c.stays for c in changed):
                yield row

    def verdicts(
        self, frame: pl.DataFrame, rows: Sequence[int], changes: Mapping[int, Sequence[Change]]
    ) -> Iterator[tuple[int, Change | PoisonError]]:
        """(row, what becomes of it) for each of these `rows` of `frame` that breaks a rule. `changes`: made before."""
        now = {name: frame[rows].select(self._stored(name).alias(name)).to_series() for name in self._fields}
        for name, column in now.items():
            made = {i: c.value for i, row in enumerate(rows) for c in _on(name, changes.get(row, ()))}
            now[name] = _set(column, made)
        gone: set[int] = set()
        for rule, broken in zip(self._rules, self._broken, strict=True):
            found = pl.DataFrame(now).select(broken.fill_null(value=False).alias("b"))["b"].arg_true().to_list()
            for i in found:
                if i not in gone:
                    yield from ((rows[i], answer) for answer in self._answers(rule, {n: now[n][i] for n in now}))
            if rule.on_violation == "reject":
                gone.update(found)
            elif rule.on_violation == "null":
                now.update({n: _set(now[n], dict.fromkeys(found)) for n in rule.fields if n in now})

    def _answers(self, rule: CrossRule, values: Mapping[str, object]) -> Iterator[Change | PoisonError]:
        if rule.on_violation == "reject":
            named = ", ".join(f"{n} = {shown(self._fields[n], values[n])}" for n in rule.expression.fields)
            first = rule.fields[0]
            yield PoisonError(
                Reason.INCONSISTENT, f"{rule.text} does not hold, with {named.rstrip(',')}",
                field=first, value=str(values.get(first, "")), rule=rule.name,
            )  # fmt: skip
            return
        for name in rule.fields:
            note = f"{name}:{rule.name}:{rule.on_violation}"
            yield Change(name, None, note, stays=rule.on_violation == "flag")

    def _stored(self, name: str) -> pl.Expr:
        it = self._fields[name]
        return pl.col(name).cast(pl.String) if kind_of(it) == "text" else pl.col(name).to_physical()

    def _compiled(self, tree: Tree, leaf: Leaf) -> pl.Expr:
        match tree:
            case Const():
                return pl.lit(tree.value)
            case Name():
                return _value(self._fields[tree.field], leaf(tree.field))
            case Op():
                return _OPERATORS[tree.name](*(self._compiled(arg, leaf) for arg in tree.args))


def _value(field: Field, stored: pl.Expr) -> pl.Expr:
    """A field's values in an expression: numbers in floats, times in seconds."""
    if kind_of(field) != "number":
        return stored
    value = stored.cast(pl.Float64)
    if field.logical in PER_SECOND:
        return value / PER_SECOND[field.logical]
    return pl.when(value.is_finite()).then(value) if field.kind in FLOATS else value


def _finite(number: pl.Expr) -> pl.Expr:
    """Null for what is no number, such as a quotient by zero: nothing follows from it.

    A function, since `when(number.is_finite()).then(number)` would double the work at each level of an expression.
    """
    return number.map_batches(_finite_only, return_dtype=pl.Float64)


def _finite_only(numbers: pl.Series) -> pl.Series:
    bad = (~numbers.is_finite()).fill_null(value=False)
    return numbers.set(bad, None) if bad.any() else numbers


def _all(*conditions: pl.Expr) -> pl.Expr:
    return reduce(lambda a, b: a & b, conditions)


def _any(*conditions: pl.Expr) -> pl.Expr:
    return reduce(lambda a, b: a | b, conditions)


def _extreme(choose: Callable[..., pl.Expr]) -> Callable[..., pl.Expr]:
    """The smallest or largest of all; null where one is missing. A function for the same reason."""

    def of(columns: Sequence[pl.Series]) -> pl.Series:
        args = [pl.lit(c) for c in columns]
        return pl.select(pl.when(pl.all_horizontal(a.is_not_null() for a in args)).then(choose(*args))).to_series()

    return lambda *args: pl.map_batches(args, of, return_dtype=pl.Float64)


_OPERATORS: dict[str, Callable[..., pl.Expr]] = {
    "+": lambda a, b: _finite(a + b),
    "-": lambda a, b: _finite(a - b),
    "*": lambda a, b: _finite(a * b),
    "/": lambda a, b: _finite(a / b),
    "neg": lambda a: -a,
    "abs": lambda a: a.abs(),
    "min": _extreme(pl.min_horizontal),
    "max": _extreme(pl.max_horizontal),
    "sqrt": lambda a: _finite(a.sqrt()),
    "exp": lambda a: _finite(a.exp()),
    "log": lambda a: _finite(a.log()),
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "and": _all,
    "or": _any,
    "not": lambda a: ~a,
}


def _on(field: str, changes: Sequence[Change]) -> Iterator[Change]:
    return (c for c in changes if c.field == field and not c.stays)


def _set(column: pl.Series, values: Mapping[int, object]) -> pl.Series:
    """The column with other values in some places."""
    if not values:
        return column
    return column.scatter(list(values), pl.Series(list(values.values()), dtype=column.dtype))
