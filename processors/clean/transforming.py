"""The stream's transform on the rows that the rules let pass: what it changes is written anew, the rest stays."""

from collections.abc import Callable

import numpy as np

from headrace.contracts.model import Field
from headrace.errors import PoisonError, Reason
from headrace.protocol.clean_note import in_force
from headrace.protocol.wire import FRAME_BYTES, schema_id
from headrace.transforms.code import SHOWN_DIGITS
from headrace.transforms.run import Failure
from processors.avro.codec import Codec
from processors.clean.batch import RawBatch
from processors.clean.judge import Judged, rewrite
from processors.clean.rules.rule import Change
from processors.clean.schemas import Known
from processors.clean.transforms import Transforms
from processors.group.schemas import Schemas

RULE = "transform"


def transformed(
    b: RawBatch, judged: Judged, schemas: Schemas[Known], transforms: Transforms, alive: Callable[[], object]
) -> Judged:
    """`judged`, with what the transform makes of the rows that pass, each by the version noted for its offset.

    Changes nothing. `alive` is called again and again. ConfigError if a transform is seen not to be row-wise;
    TransientError while the registry is away.
    """
    refused, rewritten = dict(judged.refused), dict(judged.rewritten)
    for (prefix, digest), rows in _groups(b, judged).items():
        number = schema_id(prefix)
        known = schemas.get(number)
        values = [rewritten.get(i) or b.values[i] or b"" for i in rows]
        columns = columns_of(known.codec, known.fields, values)
        result = transforms.run(digest, number, known.fields, columns, alive)
        for place, failure in result.failures.items():
            refused[rows[place]] = _refusal(failure, digest)
        for place, changes in result.changes.items():
            notes = [Change(f, v, f"{f}:{RULE}:{digest[:SHOWN_DIGITS]}") for f, v in changes.items()]
            try:
                rewritten[rows[place]] = rewrite(values[place], notes, known)
            except PoisonError as e:
                refused[rows[place]] = _refusal(Failure(str(e)), digest)
    for row in refused:
        rewritten.pop(row, None)
    return Judged(refused, rewritten, judged.values)


def columns_of(codec: Codec, fields: list[Field], values: list[bytes]) -> dict[str, list[object]]:
    """The fields' values as stored, of messages that are good."""
    frame = codec.decode(values).frame
    return {f.name: (frame[f.name].to_physical() if f.logical else frame[f.name]).to_list() for f in fields}


def _groups(b: RawBatch, judged: Judged) -> dict[tuple[bytes, str], list[int]]:
    """The rows that pass and that a version is noted for, by the frame before their datum, and the version."""
    passing = ~b.repeats
    passing[list(judged.refused)] = False
    groups: dict[tuple[bytes, str], list[int]] = {}
    for i in np.flatnonzero(passing).tolist():
        digest = in_force(b.partition.note.versions, int(b.offsets[i]))
        if digest:
            groups.setdefault(((b.values[i] or b"")[:FRAME_BYTES], digest), []).append(i)
    return groups


def _refusal(failure: Failure, digest: str) -> PoisonError:
    return PoisonError(
        Reason.TRANSFORM,
        f"version {digest[:SHOWN_DIGITS]} of the transform failed: {failure.message}",
        field=failure.field,
        value=failure.value,
        rule=RULE,
    )
