"""The stream's calibration and transform on the rows that the rules let pass: what they change is written anew."""

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl

from headrace.errors import PoisonError, Reason
from headrace.protocol.versions import SHOWN_DIGITS
from headrace.protocol.wire import schema_id
from headrace.transforms.run import Failure
from processors.avro.physical import columns_of
from processors.clean import calibrating
from processors.clean.batch import RawBatch
from processors.clean.calibrating import calibrated
from processors.clean.judge import Judged, by_prefix
from processors.clean.schemas import Known
from processors.clean.transforms import Transforms
from processors.clean.writing import written
from processors.group.schemas import Schemas

RULE = "transform"


def transformed(
    b: RawBatch, judged: Judged, schemas: Schemas[Known], transforms: Transforms, alive: Callable[[], object]
) -> Judged:
    """`judged`, with what calibration and transform make of the rows that pass, by the version noted for their offsets.

    Changes nothing. `alive` is called again and again. ConfigError if a transform is seen not to be row-wise;
    TransientError while the registry is away.
    """
    out = Judged(dict(judged.refused), dict(judged.rewritten), judged.values)
    for group in _groups(b, judged):
        _run(b, out, group, schemas, transforms, alive)
    for row in out.refused:
        out.rewritten.pop(row, None)
    return out


def _run(
    b: RawBatch,
    out: Judged,
    group: tuple[int, str, list[int]],
    schemas: Schemas[Known],
    transforms: Transforms,
    alive: Callable[[], object],
) -> None:
    """Add to `out` what becomes of rows of one schema and version."""
    number, version, rows = group
    known = schemas.get(number)
    values = [out.rewritten.get(i) or b.values[i] or b"" for i in rows]
    calibration, transform = transforms.of(version)
    frame: pl.DataFrame | None = None
    if calibration is not None:
        found = calibrated(*calibration, known, values)
        digest = calibration[0].table.digest
        out.refused.update({rows[i]: _refusal(it, calibrating.RULE, digest) for i, it in found.failures.items()})
        out.rewritten.update({row: new for row, new in zip(rows, found.values, strict=True) if new is not None})
        kept = [i for i in range(len(rows)) if i not in found.failures]
        frame = found.frame if len(kept) == len(rows) else found.frame[kept]
        values, rows = [found.values[i] or values[i] for i in kept], [rows[i] for i in kept]
    if transform is None or not rows:
        return
    digest = transform.code.digest
    columns = columns_of(known.codec.decode(values).frame if frame is None else frame, known.fields)
    result = transforms.run(transform, number, known.fields, columns, alive)
    for place, failure in result.failures.items():
        out.refused[rows[place]] = _refusal(failure, RULE, digest)
    made, unwritten = written(values, result.changes, known, f"{RULE}:{digest[:SHOWN_DIGITS]}")
    out.rewritten.update({rows[place]: value for place, value in made.items()})
    out.refused.update({rows[place]: _refusal(Failure(str(e)), RULE, digest) for place, e in unwritten.items()})


def _groups(b: RawBatch, judged: Judged) -> Iterator[tuple[int, str, list[int]]]:
    """(schema id, version, the rows that pass and are to be made by it)."""
    passing = ~b.repeats
    passing[list(judged.refused)] = False
    versions = b.partition.note.versions
    begun = np.searchsorted([v.start for v in versions], b.offsets, side="right")
    for i, version in enumerate(versions, 1):
        rows = np.flatnonzero(passing & (begun == i)) if version.digest else np.array([], np.int64)
        for prefix, places in by_prefix([b.values[row] for row in rows]).items():
            yield schema_id(prefix), version.digest, rows[places].tolist()


def _refusal(failure: Failure, rule: str, digest: str) -> PoisonError:
    return PoisonError(
        Reason.TRANSFORM,
        f"version {digest[:SHOWN_DIGITS]} of the {rule} failed: {failure.message}",
        field=failure.field,
        value=failure.value,
        rule=rule,
    )
