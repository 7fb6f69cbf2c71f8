"""The verdict on each raw message of a batch. Its bytes, its schema id and its append time decide, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headrace.contracts.model import QUALITY
from headrace.errors import PoisonError, Reason
from headrace.wire import FRAME_BYTES, schema_id
from processors.clean.schemas import Known, Schemas
from processors.rules import Change

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Judged:
    """Rows in neither mapping pass with the bytes they came with."""

    refused: dict[int, PoisonError] = field(default_factory=dict)
    rewritten: dict[int, bytes] = field(default_factory=dict)  # the whole message's new value


def judge(values: Sequence[bytes | None], append_ms: Ints, repeats: Mask, schemas: Schemas) -> Judged:
    """Verdicts on messages by their row; those that repeat a reading get none. TransientError: see `Schemas.get`."""
    out = Judged()
    for prefix, rows in _by_prefix(values, repeats).items():
        try:
            known = schemas.get(schema_id(prefix))
        except PoisonError as e:
            out.refused.update(dict.fromkeys(rows.tolist(), e))
            continue
        _judge_group(values, rows, append_ms, known, out)
    return out


def _by_prefix(values: Sequence[bytes | None], repeats: Mask) -> dict[bytes | None, Ints]:
    """The rows to judge, by the frame before their datum: that is, by schema id."""
    prefixes = [None if v is None else v[:FRAME_BYTES] for v in values]
    kinds = set(prefixes)
    if len(kinds) == 1:
        return {prefixes[0]: np.flatnonzero(~repeats)}
    groups: dict[bytes | None, list[int]] = {}
    for i, (prefix, repeated) in enumerate(zip(prefixes, repeats.tolist(), strict=True)):
        if not repeated:
            groups.setdefault(prefix, []).append(i)
    return {prefix: np.array(rows, dtype=np.int64) for prefix, rows in groups.items()}


def _judge_group(values: Sequence[bytes | None], rows: Ints, append_ms: Ints, known: Known, out: Judged) -> None:
    chosen = [v for i in rows.tolist() if (v := values[i]) is not None]
    decoded = known.codec.decode(chosen)
    verdicts = known.rules.judge(decoded.frame, append_ms[rows])
    for i, error in decoded.bad:
        out.refused[int(rows[i])] = error
    for i, error in verdicts.refused.items():
        out.refused[int(rows[i])] = error
    for i, changes in verdicts.changes.items():
        if i not in verdicts.refused:
            row = int(rows[i])
            try:
                out.rewritten[row] = rewrite(chosen[i], changes, known)
            except PoisonError as e:
                out.refused[row] = e


def rewrite(value: bytes, changes: Sequence[Change], known: Known) -> bytes:
    """A message with values replaced and `_quality` saying so, after what it said before."""
    row = known.codec.read(value, proven=True)
    for change in changes:
        row[change.field] = change.value
    notes = [row[QUALITY]] if row[QUALITY] else []
    row[QUALITY] = ";".join([*notes, *(c.note for c in changes)])
    try:
        return known.codec.write(schema_id(value), row)
    except (ValueError, TypeError, OverflowError) as e:
        raise PoisonError(Reason.MALFORMED, f"the cleaned reading can't be written: {e}") from None
