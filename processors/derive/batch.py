"""A batch of readings of one partition, and the rows that are made of them: decided as a value."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headrace.contracts.model import Field
from headrace.deadletters import Letter, Stage
from headrace.errors import PoisonError, Reason
from headrace.kafka import Message, columns
from headrace.protocol.clean_note import CleanNote, Counts
from headrace.protocol.names import QUALITY
from headrace.protocol.versions import SHOWN_DIGITS
from headrace.protocol.wire import EVENT_ID_BYTES, HAS_EVENT_ID, ROW_HEADER_BYTES, Position, record_bytes, schema_id
from headrace.transforms.derive import Derived
from processors.arrays import Bools, Ints
from processors.avro.physical import columns_of
from processors.clean.schemas import Known
from processors.derive.ids import derived_ids
from processors.derive.versions import Making, Versions
from processors.group.emit import Row
from processors.group.partition import SourcePartition, offsets_of
from processors.group.refusal import refusal
from processors.group.schemas import Schemas
from processors.positions import new_messages
from processors.provenance import Marks, fields, marks, nothing, placed

Run = Callable[[Making, int, Sequence[Field], Sequence[Field], dict[str, list[object]]], Derived]
Values = dict[int, list[bytes]]  # by message: the framed rows made of it


@dataclass(frozen=True, slots=True)
class Made:
    """What becomes of messages of one partition."""

    rows: list[Row]  # in the order of the messages
    letters: list[Letter]
    reasons: Counter[Reason]  # of the letters
    counts: Counts  # of the messages
    offset: int
    note: CleanNote


@dataclass(slots=True)
class _Found:
    """By message: its rows, or why there are none."""

    values: Values = field(default_factory=dict)
    refused: dict[int, PoisonError] = field(default_factory=dict)


def made(
    it: SourcePartition,
    messages: list[Message],
    stream: str,
    schemas: Schemas[Known],
    versions: Versions,
    run: Run,
    limit: int,
) -> Made:
    """The rows of `stream` that are made of messages, at least one. `run` runs a function; `limit`: the largest record.

    Changes nothing. TransientError while the registry is away; ConfigError if a function is seen not to be row-wise.
    """
    given = marks(columns.headers(messages))
    new, taken = new_messages(given, it.note.taken)
    offsets = offsets_of(messages)
    found = _Found()
    for version, number, rows in _groups(it, messages, new, offsets, found):
        _make(versions.of(version), number, rows, messages, schemas, run, found)
    return _decided(it, messages, given, stream, new, taken, found, limit)


def _groups(
    it: SourcePartition, messages: list[Message], new: Bools, offsets: Ints, found: _Found
) -> Iterator[tuple[str, int, list[int]]]:
    """(version, schema id, places of the new messages that have both). Those without a schema id are refused."""
    begun = np.searchsorted([v.start for v in it.note.versions], offsets, side="right") - 1
    groups: dict[tuple[str, int], list[int]] = {}
    for i in np.flatnonzero(new).tolist():
        try:
            number = schema_id(messages[i].value())
        except PoisonError as e:
            found.refused[i] = e
        else:
            groups.setdefault((it.note.versions[begun[i]].digest, number), []).append(i)
    yield from ((*key, rows) for key, rows in groups.items())


def _make(
    making: Making,
    number: int,
    rows: list[int],
    messages: list[Message],
    schemas: Schemas[Known],
    run: Run,
    found: _Found,
) -> None:
    """Add to `found` what becomes of messages of one version and schema."""
    wanted = schemas.get(making.schema_id)
    try:
        known = schemas.get(number)
    except PoisonError as e:
        found.refused.update(dict.fromkeys(rows, e))
        return
    decoded = known.codec.decode([messages[i].value() or b"" for i in rows])
    found.refused.update({rows[place]: error for place, error in decoded.bad})
    good = np.flatnonzero(decoded.good)
    if not len(good):
        return
    frame = decoded.frame if len(good) == len(rows) else decoded.frame[good]
    result = run(making, number, known.fields, wanted.fields, columns_of(frame, known.fields))
    digest = making.transform.code.digest
    for place, failure in result.failures.items():
        found.refused[rows[good[place]]] = _refusal(failure.message, digest, failure.field, failure.value)
    rest: dict[str, Any] = {QUALITY: None}
    for place, made_rows in result.rows.items():
        row = rows[good[place]]
        try:
            found.values[row] = [wanted.codec.write(making.schema_id, {**rest, **it}) for it in made_rows]
        except (ValueError, TypeError, OverflowError) as e:
            found.refused[row] = _refusal(f"a row can't be written: {e}", digest)


def _decided(
    it: SourcePartition,
    messages: list[Message],
    given: Marks,
    stream: str,
    new: Bools,
    taken: Position | None,
    found: _Found,
    limit: int,
) -> Made:
    keys = columns.keys(messages)
    places, items = list[int](), list[int]()
    values, ids = [], []
    for i in sorted(found.values.keys() - found.refused.keys()):
        rows = found.values[i]
        size = max((record_bytes(keys[i], row, []) for row in rows), default=0) + ROW_HEADER_BYTES
        if size > limit:
            words = f"a row made of the reading has {size:,} bytes, its topic takes {limit:,} (max_message_bytes)"
            found.refused[i] = PoisonError(Reason.TOO_LARGE, words)
            continue
        places += [i] * len(rows)
        items += range(len(rows))
        values += rows
        ids += derived_ids(messages[i], stream, len(rows))
    epochs = np.array(columns.epochs(messages), np.int64)[places]
    offsets, numbers = offsets_of(messages)[places], np.array(items, np.int64)
    own = nothing(len(places))
    says = fields(own)
    says["flags"] |= HAS_EVENT_ID
    says["received"] = fields(given)["received"][places]
    says["event_id"] = np.frombuffer(b"".join(ids), np.uint8).reshape(-1, EVENT_ID_BYTES)
    headers = placed(own, epochs, offsets, it.note.last, numbers)
    last = Position(int(epochs[-1]), int(offsets[-1]), int(numbers[-1])) if places else it.note.last
    count = int(new.sum())
    counts = Counts(count - len(found.refused), 0, len(found.refused), len(messages) - count)
    offset, note = it.advance(messages[-1], last, counts, taken)
    return Made(
        list(zip([keys[i] for i in places], values, headers, strict=True)),
        [refusal(it, messages[i], error, Stage.DERIVE, stream) for i, error in sorted(found.refused.items())],
        Counter(error.reason for error in found.refused.values()),
        counts,
        offset,
        note,
    )


def _refusal(message: str, digest: str, name: str = "", value: str = "") -> PoisonError:
    words = f"version {digest[:SHOWN_DIGITS]} of the transform failed: {message}"
    return PoisonError(Reason.TRANSFORM, words, field=name, value=value, rule="transform")
