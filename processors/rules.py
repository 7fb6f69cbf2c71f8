"""A contract's rules on a batch of readings: which rows are refused, and which values are nulled or clamped.

A verdict depends on the row's own values, its contract and its append time, on nothing else. A field's rules in their
order: sentinels (no value was meant), finite numbers, minimum and maximum, the time ahead.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from headrace.contracts.model import Contract, Field
from headrace.errors import PoisonError, Reason

Rule = Literal["sentinel", "not_finite", "minimum", "maximum", "max_ahead"]
Ints = npt.NDArray[np.int64]

_INTEGERS = {"int": 2**31 - 1, "long": 2**63 - 1}
_FLOATS = {"float": 3.4028234663852886e38, "double": 1.7976931348623157e308}
_DTYPES: dict[str, pl.DataType] = {
    "int": pl.Int32(), "long": pl.Int64(), "float": pl.Float32(), "double": pl.Float64(),
}  # fmt: skip
_PER_SECOND = {"timestamp-millis": 1_000, "timestamp-micros": 1_000_000}
_REASONS = {
    "sentinel": Reason.SENTINEL,
    "not_finite": Reason.NOT_FINITE,
    "minimum": Reason.OUT_OF_RANGE,
    "maximum": Reason.OUT_OF_RANGE,
    "max_ahead": Reason.FUTURE_TIME,
}


class Change(NamedTuple):
    """A value that cleaning replaces."""

    field: str
    value: Any  # None, a number, or an array's items, as stored (a timestamp is a number)
    note: str  # for `_quality`: field:rule:action


@dataclass(slots=True)
class Verdicts:
    """What the rules say of a batch. A row in neither passes as it is; what is refused may stand in `changes` too."""

    refused: dict[int, PoisonError] = field(default_factory=dict)
    changes: dict[int, list[Change]] = field(default_factory=dict)


class Rules:
    """The rules of one contract."""

    def __init__(self, contract: Contract) -> None:
        self._fields = [_FieldRules(f) for f in contract.fields if f.name != "_quality"]
        self._fields = [f for f in self._fields if f.screen is not None]
        self._screen = [f.screen.any().alias(f.name) for f in self._fields if f.screen is not None]

    def judge(self, frame: pl.DataFrame, append_ms: Ints) -> Verdicts:
        """Verdicts on rows as `processors.columns.decode` gives them, which the raw log took at `append_ms`."""
        out = Verdicts()
        if not frame.height or not self._screen:
            return out
        frame = frame.with_columns(pl.Series(_APPENDED, append_ms))
        seen = frame.select(self._screen).row(0)
        for rules, suspicious in zip(self._fields, seen, strict=True):
            if suspicious:
                for row, found in rules.judge(frame):
                    if isinstance(found, Change):
                        out.changes.setdefault(row, []).append(found)
                    else:
                        out.refused.setdefault(row, found)
        return out


_APPENDED = "__appended_ms"


class _FieldRules:
    """The rules of one field. `screen` is true wherever any of them may have been broken."""

    def __init__(self, it: Field) -> None:
        self.name = it.name
        self._it = it
        self._kind = str(it.items) if it.kind == "array" else it.kind
        self._column = pl.col(it.name).to_physical() if it.logical else pl.col(it.name)
        self._low, self._high = self._bounds()
        self._marks = self._sentinels()
        self.screen = self._make_screen()

    def judge(self, frame: pl.DataFrame) -> Iterator[tuple[int, Change | PoisonError]]:
        """(row, what is wrong with this field there), each row once."""
        assert self.screen is not None
        mask = frame.select(self.screen.fill_null(value=False).alias("mask"))["mask"]
        hits = frame.select(self._column.alias("value"), _APPENDED).filter(mask)
        rows = mask.arg_true().to_list()
        for row, value, appended in zip(rows, hits["value"].to_list(), hits[_APPENDED].to_list(), strict=True):
            found = self._judge_array(value) if self._it.kind == "array" else self._judge_one(value, appended)
            if found is not None:
                yield row, found

    def _bounds(self) -> tuple[Any, Any]:
        low: Any
        high: Any
        low, high = self._it.minimum, self._it.maximum
        if self._kind in _INTEGERS:  # exact: a bound as a float would round values beyond 2**53
            top = _INTEGERS[self._kind]
            return (
                None if low is None else max(math.ceil(low), -top - 1),
                None if high is None else min(math.floor(high), top),
            )
        if self._kind in _FLOATS:  # NaN and the infinities lie outside these in polars' order
            most = _FLOATS[self._kind]
            return self._as_stored(-most if low is None else low), self._as_stored(most if high is None else high)
        return None, None

    def _as_stored(self, bound: float) -> float:
        """A bound as a value of the field's type would hold it: 0.1 in a float is not above a maximum of 0.1."""
        return float(np.float32(bound)) if self._kind == "float" else float(bound)

    def _sentinels(self) -> list[Any]:
        if self._it.kind == "string":
            return [s for s in self._it.sentinels if isinstance(s, str)]
        numbers = [s for s in self._it.sentinels if not isinstance(s, str)]
        if self._it.kind in _INTEGERS:
            return [int(s) for s in numbers if s == int(s)]
        return [self._as_stored(s) for s in numbers] if self._kind in _FLOATS else []

    def _make_screen(self) -> pl.Expr | None:
        if self._it.kind == "array":
            return self._array_screen()
        parts = [self._outside(self._column)] if self._low is not None or self._high is not None else []
        marks = [m for m in self._marks if not self._is_outside(m)]
        if marks:
            parts.append(self._column.is_in(marks))
        if self._it.max_ahead_seconds is not None:
            parts.append(self._column > self._latest(pl.col(_APPENDED)))
        return pl.any_horizontal(parts) if parts else None

    def _array_screen(self) -> pl.Expr | None:
        parts = []
        if self._low is not None or self._high is not None:
            parts.append(self._column.list.eval(self._outside(pl.element())).list.any())
        if self._it.max_items is not None:
            parts.append(self._column.list.len() > self._it.max_items)
        return pl.any_horizontal(parts) if parts else None

    def _outside(self, value: pl.Expr) -> pl.Expr:
        kind = _DTYPES[self._kind]
        if self._low is None:
            return value > pl.lit(self._high, kind)
        if self._high is None:
            return value < pl.lit(self._low, kind)
        return ~value.is_between(pl.lit(self._low, kind), pl.lit(self._high, kind))

    def _is_outside(self, value: Any) -> bool:
        """The same for one value: NaN is outside too."""
        if isinstance(value, str):
            return False
        return not ((self._low is None or value >= self._low) and (self._high is None or value <= self._high))

    def _latest(self, append_ms: Any) -> Any:
        per_second = _PER_SECOND[self._it.logical or ""]
        return append_ms * (per_second // 1000) + int(float(self._it.max_ahead_seconds or 0) * per_second)

    def _judge_one(self, value: Any, append_ms: int) -> Change | PoisonError | None:
        if value in self._marks:
            if self._it.nullable:
                return Change(self.name, None, f"{self.name}:sentinel:null")
            return self._refusal("sentinel", value, "stands for no value, and the field must have one")
        rule = self._broken(value)
        if rule is not None:
            return self._act(rule, value)
        if self._it.max_ahead_seconds is not None and value > self._latest(append_ms):
            return self._act("max_ahead", value)
        return None

    def _judge_array(self, items: list[Any]) -> Change | PoisonError | None:
        if self._it.max_items is not None and len(items) > self._it.max_items:
            text = f"{self.name} has {len(items):,} items, {self._it.max_items:,} at most are taken"
            return PoisonError(Reason.OUT_OF_RANGE, text, field=self.name, value=str(len(items)))
        broken = {i: rule for i, rule in enumerate(map(self._broken, items)) if rule is not None}
        if not broken:
            return None
        if self._it.on_violation == "clamp" and "not_finite" not in broken.values():
            clamped = [self._bound(broken[i]) if i in broken else v for i, v in enumerate(items)]
            notes = [f"{self.name}:{rule}:clamp" for rule in sorted(set(broken.values()))]
            return Change(self.name, clamped, ";".join(notes))
        first = next((i for i, rule in broken.items() if rule == "not_finite"), min(broken))
        return self._act(broken[first], items[first], f"[{first}]")

    def _broken(self, value: Any) -> Rule | None:
        if self._kind in _FLOATS and not math.isfinite(value):
            return "not_finite"
        if self._low is not None and value < self._low:
            return "minimum"
        return "maximum" if self._high is not None and value > self._high else None

    def _bound(self, rule: Rule) -> Any:
        return self._low if rule == "minimum" else self._high

    def _act(self, rule: Rule, value: Any, index: str = "") -> Change | PoisonError:
        action = self._it.on_violation
        if action == "clamp" and rule in {"minimum", "maximum"}:
            return Change(self.name, self._bound(rule), f"{self.name}:{rule}:clamp")
        if action != "reject" and self._it.nullable:
            return Change(self.name, None, f"{self.name}:{rule}:null")
        what = {
            "not_finite": "is not a number that can be measured",
            "minimum": f"is below the minimum of {self._it.minimum}",
            "maximum": f"is above the maximum of {self._it.maximum}",
            "max_ahead": f"lies more than {self._it.max_ahead_seconds} s ahead of its arrival in Kafka",
        }[rule]
        return self._refusal(rule, value, what, index)

    def _refusal(self, rule: Rule, value: Any, what: str, index: str = "") -> PoisonError:
        unit = f" {self._it.unit}" if self._it.unit else ""
        text = f"{self.name}{index} = {value}{unit} {what}"
        return PoisonError(_REASONS[rule], text, field=self.name, value=str(value))
