"""All rules of a contract on a batch of readings: which rows are refused, and which values are changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import polars as pl

from headrace.contracts.model import Contract
from headrace.errors import PoisonError
from headrace.protocol.names import DEVICE, QUALITY, TIME
from processors.arrays import Ints
from processors.clean.rules.field import field_rules
from processors.clean.rules.rule import APPEND_MS, Change, Order

_NOTHING: Mapping[str, pl.Series] = MappingProxyType({})


@dataclass(slots=True)
class Verdicts:
    """What the rules say of a batch. A row in neither passes as it is; a refused row may stand in `changes` too."""

    refused: dict[int, PoisonError] = field(default_factory=dict)
    changes: dict[int, list[Change]] = field(default_factory=dict)


class ContractRules:
    """The rules of one contract. A verdict depends on the row's values, its append time and the look-back only."""

    def __init__(self, contract: Contract) -> None:
        found = {f.name: rules for f in contract.fields if f.name != QUALITY and (rules := field_rules(f)) is not None}
        self._fields = list(found.values())
        self._screens = [f.screen.any().alias(f.name) for f in self._fields]
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
        for rules, found in zip(self._fields, suspicious, strict=True):
            if found:
                for row, answer in rules.verdicts(frame):
                    if isinstance(answer, Change):
                        out.changes.setdefault(row, []).append(answer)
                    else:
                        out.refused.setdefault(row, answer)
        return out


def _device(contract: Contract, field: str) -> pl.Expr:
    """Whose readings a field's values are compared with: the device's; of a sequence, those since it started."""
    boots = [f.name for f in contract.fields if f.role == "boot"]
    if contract.field(field).role != "sequence" or not boots:
        return pl.col(DEVICE)
    return pl.concat_str(DEVICE, pl.col(boots[0]).cast(pl.String).fill_null(""), separator="\n")
