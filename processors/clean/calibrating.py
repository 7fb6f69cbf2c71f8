"""The stream's calibration on the rows that the rules let pass, in columns: numbers are replaced in a row's bytes.

Only where a message can't be read in columns its row is encoded anew, to the same bytes.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from headrace.contracts.model import Field
from headrace.errors import PoisonError
from headrace.protocol.names import DEVICE, QUALITY, TIME
from headrace.protocol.versions import SHOWN_DIGITS
from headrace.transforms.calibrate import Calibration, Corrected, Numbers
from headrace.transforms.run import Failure
from processors.avro.patch import Item, patched
from processors.clean.judge import rewrite
from processors.clean.rules.rule import Change
from processors.clean.schemas import Known

RULE, LEFT = "calibration", "incomplete"


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a calibration made of n rows."""

    values: list[bytes | None]  # (n,): the whole message; None if the row stays as it is
    frame: pl.DataFrame  # the rows as they are now
    failures: dict[int, Failure] = field(default_factory=dict)  # of rows that can't be calibrated


class Devices:
    """The places of a calibration's devices."""

    def __init__(self, calibration: Calibration) -> None:
        names = pl.Series("device", calibration.devices, pl.String)
        self._places = names.to_frame().with_row_index("place").with_columns(pl.col("place").cast(pl.Int64))

    def find(self, names: pl.Series) -> Any:
        """The place of each, -1 for none."""
        rows = names.alias("device").to_frame().join(self._places, on="device", how="left", maintain_order="left")
        return rows["place"].fill_null(-1).to_numpy()


def calibrated(calibration: Calibration, devices: Devices, known: Known, values: list[bytes]) -> Calibrated:
    """What the calibration makes of good messages of one schema. Changes nothing."""
    located = known.codec.locate(values, {*calibration.fields, QUALITY})
    frame = known.codec.decode(values).frame if located is None else located.frame
    times = frame[TIME].to_physical().to_numpy()
    found = calibration.run(known.fields, devices.find(frame[DEVICE]), times, lambda f: _numbers(frame[f.name], f))
    if not found:
        return Calibrated([None] * len(values), frame)
    failures: dict[int, Failure] = {}
    for c in found:
        for row in np.flatnonzero(c.broken).tolist():
            failures.setdefault(row, _failure(c.field.name, frame[c.field.name][row]))
    version = calibration.table.digest[:SHOWN_DIGITS]
    new: list[bytes | None]
    if located is not None:
        items: list[Item] = [(c.field.name, c.field.type, c.numbers, c.counts, c.applied) for c in found]
        new = patched(located, items, QUALITY, _texts(frame[QUALITY], found, version))
    else:
        new = _rewritten(values, known, found, version, failures)
    made = [_series(frame[c.field.name], c) for c in found]
    return Calibrated(new, frame.with_columns(made), failures)


def _numbers(column: pl.Series, f: Field) -> Numbers:
    if f.kind != "array":
        return Numbers(column.cast(pl.Float64).to_numpy(), column.is_not_null().to_numpy())
    counts = column.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    items = column.filter(pl.Series(counts > 0)).explode().cast(pl.Float64).to_numpy()
    return Numbers(items, counts > 0, counts)


def _texts(before: pl.Series, found: list[Corrected], version: str) -> list[str | None]:
    """`_quality` of each row as it is to be; None for a row that nothing was noted of."""
    notes = pl.select(
        pl.concat_str([_note(c, version) for c in found], separator=";", ignore_nulls=True).replace("", None)
    ).to_series()
    if before.null_count() == len(before):
        return notes.to_list()
    old = pl.when(before != "").then(before)
    both = pl.concat_str([old, notes], separator=";", ignore_nulls=True)
    return pl.select(pl.when(notes.is_not_null()).then(both)).to_series().to_list()


def _note(c: Corrected, version: str) -> pl.Expr:
    name = f"{c.field.name}:{RULE}"
    applied = pl.when(pl.Series(c.applied)).then(pl.lit(f"{name}:{version}"))
    return applied.when(pl.Series(c.left)).then(pl.lit(f"{name}:{LEFT}")) if c.left.any() else applied


def _series(before: pl.Series, c: Corrected) -> pl.Series:
    """The field's column with the corrected values."""
    if c.counts is None:
        new = pl.Series(c.numbers)
    else:
        offsets = np.concatenate(([0], np.cumsum(c.counts)))
        new = pl.Series([c.numbers[a:b] for a, b in pairwise(offsets.tolist())], dtype=before.dtype)
    return pl.select(pl.when(pl.Series(c.applied)).then(new).otherwise(before).alias(before.name)).to_series()


def _rewritten(
    values: list[bytes], known: Known, found: list[Corrected], version: str, failures: dict[int, Failure]
) -> list[bytes | None]:
    """The messages, each encoded anew."""
    out: list[bytes | None] = []
    ends = {c.field.name: np.cumsum(c.counts) for c in found if c.counts is not None}
    for row, value in enumerate(values):
        changes = []
        for c in found:
            name = c.field.name
            if c.applied[row]:
                mine: Any = (
                    c.numbers[row] if c.counts is None else c.numbers[ends[name][row] - c.counts[row] : ends[name][row]]
                )
                changes.append(Change(name, mine.tolist(), f"{name}:{RULE}:{version}"))
            elif c.left[row]:
                changes.append(Change(name, None, f"{name}:{RULE}:{LEFT}", stays=True))
        try:
            out.append(rewrite(value, changes, known) if changes and row not in failures else None)
        except PoisonError as e:
            failures[row] = Failure(str(e))
            out.append(None)
    return out


def _failure(name: str, raw: Any) -> Failure:
    what = f"{raw:.6g}" if isinstance(raw, float) else "an item of the list"
    return Failure(f"{name} = {what} becomes too large for its type: correct its offset, gain or matrix", name, what)
