"""Messages with some of their values changed: numbers are put into their bytes, what else changed is encoded anew."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headrace.contracts.calibration import FLOATS
from headrace.errors import PoisonError
from headrace.protocol.names import QUALITY
from processors.avro.patch import Item, patched
from processors.clean.judge import rewrite
from processors.clean.rules.rule import Change
from processors.clean.schemas import Known

Changes = Mapping[int, Mapping[str, Any]]  # by row: new values as stored, by field


def written(
    values: Sequence[bytes], changes: Changes, known: Known, mark: str
) -> tuple[dict[int, bytes], dict[int, PoisonError]]:
    """(by row: the message with its changes; the rows that can't be written).

    `_quality` has `field:mark` of each change, after what it had. The bytes are the same either way.
    """
    fast = _in_place(values, changes, known, mark)
    out, refused = dict(fast), dict[int, PoisonError]()
    for row, it in changes.items():
        if row not in fast:
            try:
                out[row] = rewrite(values[row], [Change(f, v, f"{f}:{mark}") for f, v in it.items()], known)
            except PoisonError as e:
                refused[row] = e
    return out, refused


def _in_place(values: Sequence[bytes], changes: Changes, known: Known, mark: str) -> dict[int, bytes]:
    """Those rows in which numbers became other numbers, and nothing else."""
    floats = {f.name: f.type for f in known.fields if f.kind in FLOATS}
    rows = [row for row, it in changes.items() if all(f in floats and v is not None for f, v in it.items())]
    names = {f for row in rows for f in changes[row]}
    located = known.codec.locate([values[row] for row in rows], {*names, QUALITY})
    if located is None:
        return {}
    new = {name: np.full(len(rows), np.nan) for name in names}
    notes: dict[tuple[str, ...], str] = {}
    texts: list[str | None] = []
    for i, (row, before) in enumerate(zip(rows, located.frame[QUALITY].to_list(), strict=True)):
        it = changes[row]
        for name, value in it.items():
            new[name][i] = value
        key = tuple(it)
        note = notes.get(key)
        if note is None:
            note = notes[key] = ";".join(f"{f}:{mark}" for f in key)
        texts.append(f"{before};{note}" if before else note)
    items: list[Item] = []
    usable = np.ones(len(rows), np.bool_)
    for name, numbers in new.items():
        changed, present = ~np.isnan(numbers), located.frame[name].is_not_null().to_numpy()
        usable &= present | ~changed
        single = floats[name].kind == "float"
        items.append((name, floats[name], numbers.astype(np.float32) if single else numbers, None, changed & present))
    made = patched(located, items, QUALITY, texts)
    return {
        row: value for row, value, good in zip(rows, made, usable.tolist(), strict=True) if good and value is not None
    }
