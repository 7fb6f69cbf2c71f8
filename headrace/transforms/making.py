"""What a stream's rows are made by: its calibration first, then its transform. For rows in lists, to try it on.

`processors.clean.transforming` does the same in columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from headrace.contracts.model import Field
from headrace.protocol.names import DEVICE, TIME
from headrace.protocol.versions import Parts, named
from headrace.transforms.calibrate import Calibration, Corrected, Numbers
from headrace.transforms.run import Failure, Result, Transform
from headrace.transforms.table import Columns


@dataclass(frozen=True)
class Making:
    """At least one of the two."""

    calibration: Calibration | None
    transform: Transform | None

    @property
    def version(self) -> str:
        """As `headrace.protocol.versions` names it."""
        digest = self.calibration.table.digest if self.calibration else ""
        return named(Parts(self.transform.code.digest if self.transform else "", digest))

    @property
    def name(self) -> str:
        """For messages: `imu.csv, version 9b01c2d4; imu.py, version 3f2a9c01`."""
        names = [self.calibration.table.name] if self.calibration else []
        return "; ".join(names + ([self.transform.code.name] if self.transform else []))

    def run(self, fields: Sequence[Field], columns: Columns) -> Result:
        """What becomes of the rows."""
        first = _calibrated(self.calibration, fields, columns) if self.calibration else Result()
        if self.transform is None:
            return first
        kept = [row for row in range(len(columns[DEVICE])) if row not in first.failures]
        then = self.transform.run(
            fields, {n: [v[row] for row in kept] for n, v in self.calibrated(first, columns).items()}
        )
        changes = dict(first.changes)
        for place, more in then.changes.items():
            changes[kept[place]] = changes.get(kept[place], {}) | more
        failures = first.failures | {kept[place]: failure for place, failure in then.failures.items()}
        return Result({row: it for row, it in changes.items() if row not in failures}, failures)

    def check(self, fields: Sequence[Field], columns: Columns) -> None:
        """ConfigError if the transform is not row-wise."""
        if self.transform is not None:
            first = _calibrated(self.calibration, fields, columns) if self.calibration else Result()
            self.transform.check(fields, self.calibrated(first, columns))

    @staticmethod
    def calibrated(first: Result, columns: Columns) -> dict[str, list[Any]]:
        """The columns with the changes in them."""
        out = {name: list(values) for name, values in columns.items()}
        for row, changes in first.changes.items():
            for name, value in changes.items():
                out[name][row] = value
        return out


def _calibrated(it: Calibration, fields: Sequence[Field], columns: Columns) -> Result:
    code = {device: i for i, device in enumerate(it.devices)}
    codes = np.array([code.get(device, -1) for device in columns[DEVICE]], np.int64)
    out = Result()
    for c in it.run(fields, codes, np.array(columns[TIME], np.int64), lambda f: _numbers(f, columns[f.name])):
        _add(c, columns[c.field.name], out)
    for row in out.failures:
        out.changes.pop(row, None)
    return out


def _add(c: Corrected, before: Sequence[Any], out: Result) -> None:
    ends = np.arange(len(before) + 1) if c.counts is None else np.concatenate(([0], np.cumsum(c.counts)))
    for row, (a, b) in enumerate(pairwise(ends.tolist())):
        if c.broken[row]:
            out.failures.setdefault(row, Failure(f"{c.field.name} becomes too large for its type", c.field.name))
        elif c.applied[row]:
            items = c.numbers[a:b].tolist()
            value = items[0] if c.counts is None else items
            if value != before[row]:
                out.changes.setdefault(row, {})[c.field.name] = value


def _numbers(f: Field, values: Sequence[Any]) -> Numbers:
    if f.kind != "array":
        return Numbers(
            np.array([np.nan if v is None else v for v in values], np.float64),
            np.array([v is not None for v in values], np.bool_),
        )
    counts = np.array([len(v or ()) for v in values], np.int64)
    items = [x for v in values for x in v or ()]
    return Numbers(np.array([np.nan if x is None else x for x in items], np.float64), counts > 0, counts)
