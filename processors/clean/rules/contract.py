"""All rules of a contract on a batch of readings: which rows are refused, and which values are changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import polars as pl

from headrace.contracts.model import Contract
from headrace.errors import PoisonError
from headrace.protocol.names import DEVICE, QUALITY, TIME
from processors.arrays import Ints
from processors.clean.rules.across import Across
from processors.clean.rules.field import field_rules
from processors.clean.rules.rule import APPEND_MS, Change, Order

_NOTHING: Mapping[str, pl.Series] = MappingProxyType({})


@dataclass(slots=True)
class Verdicts:
    """What the rules say of a batch. A row in neither passes as it is; a refused row may stand in `changes` too."""

    refused: dict[int, PoisonError] = field(default_factory=dict)
    changes: dict[int, list[Change]] = field(default_factory=dict)

    def add(self, row: int, answer: Change | PoisonError) -> None:
        """Add what becomes of a row. The first refusal counts."""
        if isinstance(answer, Change):
            self.changes.setdefault(row, []).append(answer)
        else:
            self.refused.setdefault(row, answer)


class ContractRules:
    """The rules of one contract. A verdict depends on the row's values, its append time and the look-back only."""

    def __init__(self, contract: Contract) -> None:
        found = {f.name: rules for f in contract.fields if f.name != QUALITY and (rules := field_rules(f)) is not None}
        self._fields = list(found.values())
        self._across = Across(contract)
        self._screens = [f.screen.any().alias(f.name) for f in self._fields]
        if self._across:
            self._screens.append(self._across.screen.any().alias("__across"))
        self._looking_back = {f.name: (f.value, f.orders) for f in self._fields if f.orders}
        self._usable = {name: found[TIME].usable & found[name].usable for name in self._looking_back}
        self._devices = {name: _device(contract, name) for name in self._looking_back}

    @property
    def looks_back(self) -> bool:
        """Whether `judge` needs the values of readings before."""
        return bool(self._looking_back)

    def values(
        self, frame: pl.DataFrame, append_ms: Ints, offsets: Ints
    ) -> Iterator[tuple[str, tuple[Order, ...], pl.DataFrame]]:
        """(a field whose rules look back, in which orders, its values that can be compared), field by field.

        The values are frames with `history.COLUMNS` and `row`, their place in `frame`: those that keep the field's
        other rules, in readings whose event_time keeps its own. `offsets` (n,): where the n rows of `frame` stand in
        the log, ascending.
        """
        extra = [pl.Series(APPEND_MS, append_ms), pl.Series("__offset", offsets)]
        frame = frame.with_columns(extra).with_row_index("__row")
        where = [
            pl.col(TIME).to_physical().alias("time"),
            pl.col("__offset").alias("offset"),
            pl.col("__row").alias("row"),
        ]
        for name, (value, orders) in self._looking_back.items():
            device = self._devices[name].alias("device")
            yield name, orders, frame.filter(self._usable[name]).select(device, *where, value.alias("value"))

    def judge(self, frame: pl.DataFrame, append_ms: Ints, before: Mapping[str, pl.Series] = _NOTHING) -> Verdicts:
        """Verdicts on the n rows of `frame`, as `codec.decode` gives them; Kafka took them at `append_ms` (n,).

        `before`: columns (n,) by `rule.looked_up_name`: what came before, of each field whose rules look back.
        """
        out = Verdicts()
        if not frame.height or not self._screens:
            return out
        frame = frame.with_columns(pl.Series(APPEND_MS, append_ms), **before)
        suspicious = frame.select(self._screens).row(0)  # all rules of all fields at once: nearly always all false
        for rules, found in zip(self._fields, suspicious, strict=False):
            if found:
                for row, answer in rules.verdicts(frame):
                    out.add(row, answer)
        if self._across:
            self._judge_across(frame, out, any_broken=suspicious[-1])
        return out

    def _judge_across(self, frame: pl.DataFrame, out: Verdicts, *, any_broken: bool) -> None:
        """Add the verdicts of the rules across fields, on what the rules of the fields have left."""
        rows = set(self._across.concerned(out.changes))
        if any_broken:
            rows.update(frame.select(self._across.screen.fill_null(value=False).alias("b"))["b"].arg_true().to_list())
        rows -= out.refused.keys()
        if rows:
            for row, answer in list(self._across.verdicts(frame, sorted(rows), out.changes)):
                out.add(row, answer)


def _device(contract: Contract, field: str) -> pl.Expr:
    """Whose readings a field's values are compared with: the device's; of a sequence, those since it started."""
    boots = [f.name for f in contract.fields if f.role == "boot"]
    if contract.field(field).role != "sequence" or not boots:
        return pl.col(DEVICE)
    return pl.concat_str(DEVICE, pl.col(boots[0]).cast(pl.String).fill_null(""), separator="\n")
