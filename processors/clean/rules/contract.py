"""All rules of a contract on a batch of readings: which rows are refused, and which values are changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import polars as pl

from headrace.contracts.model import Contract
from headrace.errors import PoisonError
from headrace.protocol.names import DEVICE, QUALITY, TIME
from processors.arrays import Ints
from processors.clean.rules.field import field_rules
from processors.clean.rules.rule import APPEND_MS, Change, before_name

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
        self._looking_back = {f.name: f.value for f in self._fields if f.before is not None}
        self._usable = {name: found[TIME].usable & found[name].usable for name in self._looking_back}

    @property
    def looks_back(self) -> bool:
        """Whether `judge` needs the values of readings before."""
        return bool(self._looking_back)

    def values(self, frame: pl.DataFrame, append_ms: Ints, offsets: Ints) -> dict[str, pl.DataFrame]:
        """The values that can be compared, by field: frames with `history.COLUMNS` and `row`, their place in `frame`.

        Of each field whose rules look back, those values that keep its other rules, in readings whose event_time keeps
        its own. `offsets` (n,): where the n rows of `frame` stand in the log, ascending.
        """
        extra = [pl.Series(APPEND_MS, append_ms), pl.Series("__offset", offsets)]
        frame = frame.with_columns(extra).with_row_index("__row")
        where = [
            pl.col(DEVICE).alias("device"),
            pl.col(TIME).to_physical().alias("time"),
            pl.col("__offset").alias("offset"),
            pl.col("__row").alias("row"),
        ]
        return {
            name: frame.filter(self._usable[name]).select(*where, value.alias("value"))
            for name, value in self._looking_back.items()
        }

    def judge(self, frame: pl.DataFrame, append_ms: Ints, before: Mapping[str, pl.Series] = _NOTHING) -> Verdicts:
        """Verdicts on the n rows of `frame`, as `codec.decode` gives them; Kafka took them at `append_ms` (n,).

        `before`: of each field whose rules look back, its values (n,) in the device's readings before.
        """
        out = Verdicts()
        if not frame.height or not self._screens:
            return out
        looked_up = [values.alias(before_name(name)) for name, values in before.items()]
        frame = frame.with_columns(pl.Series(APPEND_MS, append_ms), *looked_up)
        suspicious = frame.select(self._screens).row(0)  # all rules of all fields at once: nearly always all false
        for rules, found in zip(self._fields, suspicious, strict=True):
            if found:
                for row, answer in rules.verdicts(frame):
                    if isinstance(answer, Change):
                        out.changes.setdefault(row, []).append(answer)
                    else:
                        out.refused.setdefault(row, answer)
        return out
