"""A batch of raw messages, and what becomes of each: decided as a value, before anything is done about it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from headrace.deadletters import Letter, Stage
from headrace.errors import PoisonError, Reason
from headrace.kafka import Message, columns
from headrace.protocol.clean_note import CleanNote, Counts
from headrace.protocol.names import clean_topic, stream_of
from headrace.protocol.wire import ROW_HEADER_BYTES, Headers, Position, record_bytes
from processors.arrays import Bools, Ints
from processors.clean.event_ids import Ids, ids_of
from processors.clean.judge import Judged, Raw, judge, values_of
from processors.clean.lookback import Seen, Values
from processors.clean.partition import RawPartition
from processors.clean.schemas import Known
from processors.group.emit import Row
from processors.group.partition import offsets_of
from processors.group.refusal import refusal
from processors.group.schemas import Schemas
from processors.positions import new_messages
from processors.provenance import Marks, marks, placed


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Consecutive raw messages of one partition, from `partition.next` on. All columns have one element a message."""

    partition: RawPartition
    messages: list[Message]
    values: list[bytes | None]
    keys: list[bytes | None]
    marks: Marks  # what their headers say
    offsets: Ints
    append_ms: Ints  # when Kafka took the message, milliseconds since 1970 UTC
    ids: Ids
    repeats: Bools  # which messages repeat a reading of the look-back, or a row that was taken by its position
    taken: Position | None = None  # the position of the last row taken, where rows have positions


@dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of a RawBatch. Commit `offset` with `note` once Kafka has the rows and the letters."""

    batch: RawBatch
    rows: list[Row]  # in raw order
    letters: list[Letter]  # in raw order
    counts: Counts
    reasons: Counter[Reason]  # of the letters
    offset: int
    note: CleanNote
    seen: Seen  # what the look-back takes after the commit


def raw_batch(partition: RawPartition, messages: list[Message]) -> RawBatch:
    """The messages in columns. At least one. FatalError where rows have positions and one of them is missing."""
    found = marks(columns.headers(messages))
    offsets = offsets_of(messages)
    with_ids = ids_of(found, offsets)
    repeats, taken = partition.lookback.repeats(with_ids), None
    if partition.numbered:
        new, taken = new_messages(found, partition.note.taken)
        repeats |= ~new
    return RawBatch(
        partition,
        messages,
        columns.values(messages),
        columns.keys(messages),
        found,
        offsets,
        append_ms_of(messages),
        with_ids,
        repeats,
        taken,
    )


def verdicts(batches: Sequence[RawBatch], schemas: Schemas[Known]) -> list[Judged]:
    """The verdicts on each batch. Changes nothing, so it can be called again.

    TransientError while the registry is away.
    """
    return judge([Raw(b.values, b.append_ms, b.offsets, b.repeats, b.partition.lookback) for b in batches], schemas)


def decided(b: RawBatch, judged: Judged, limits: Mapping[str, int]) -> Decided:
    """What becomes of a batch with these verdicts. `limits`: the largest message, in bytes, of each clean topic."""
    return _decided(b, _refuse_too_large(b, judged, limits[clean_topic(stream_of(b.partition.topic))]))


def looked_back(messages: list[Message], schemas: Schemas[Known]) -> Values:
    """What the look-back keeps of messages that were dealt with already. TransientError while the registry is away."""
    return values_of(columns.values(messages), lambda: (append_ms_of(messages), offsets_of(messages)), schemas)


def append_ms_of(messages: list[Message]) -> Ints:
    """When Kafka took each message, milliseconds since 1970 UTC."""
    return np.array(columns.appended_ms(messages), np.int64)


def _decided(b: RawBatch, judged: Judged) -> Decided:
    refused, rewritten = judged.refused, judged.rewritten
    repeated = int(b.repeats.sum())
    kept = len(b.messages) - repeated - len(refused) - len(rewritten)
    counts = Counts(kept, len(rewritten), len(refused), repeated)
    emitted, last = _emitted(b, refused)
    stream = stream_of(b.partition.topic)
    offset, note = b.partition.advance(b.messages[-1], last, counts, b.taken)
    return Decided(
        b,
        _rows(b, rewritten, *emitted),
        [refusal(b.partition, b.messages[i], error, Stage.CLEAN, stream) for i, error in sorted(refused.items())],
        counts,
        Counter(error.reason for error in refused.values()),
        offset,
        note,
        Seen(offset, b.ids, judged.values),
    )


def _rows(b: RawBatch, rewritten: Mapping[int, bytes], chosen: Ints, headers: Sequence[Headers]) -> list[Row]:
    """The rows of the chosen messages, which have these headers."""
    if len(chosen) == len(b.messages) and not rewritten:  # as is nearly always the case
        return list(zip(b.keys, b.values, headers, strict=True))
    return [
        (b.keys[i], rewritten.get(i) or b.values[i], of_row) for i, of_row in zip(chosen.tolist(), headers, strict=True)
    ]


def _emitted(b: RawBatch, refused: dict[int, PoisonError]) -> tuple[tuple[Ints, list[Headers]], Position]:
    """(the messages that become rows, and the headers of these; the source of the last row emitted so far)."""
    emitted = ~b.repeats
    emitted[list(refused)] = False
    chosen = np.flatnonzero(emitted)
    last = b.partition.note.last
    if not len(chosen):
        return (chosen, []), last
    offsets = b.offsets[chosen]
    epochs = np.array(columns.epochs(b.messages), np.int64)[chosen]
    headers = placed(b.marks[chosen], epochs, offsets, last)
    return (chosen, headers), Position(int(epochs[-1]), int(offsets[-1]), 0)


def _refuse_too_large(b: RawBatch, judged: Judged, limit: int) -> Judged:
    """`judged`, with the rows refused that the clean topic would not take: a failed delivery would leave a hole."""
    largest_value = max(map(len, chain(filter(None, b.values), judged.rewritten.values())), default=0)
    if largest_value + max(map(len, filter(None, b.keys)), default=0) < limit // 2:
        return judged
    refused, rewritten = dict(judged.refused), dict(judged.rewritten)
    for i, raw in enumerate(b.values):
        if raw is None or i in refused or b.repeats[i]:
            continue
        value = rewritten.get(i, raw)
        bytes_needed = record_bytes(b.keys[i], value, []) + ROW_HEADER_BYTES
        if bytes_needed > limit:
            rewritten.pop(i, None)
            words = (
                f"the reading has {bytes_needed:,} bytes once cleaned, its topic takes {limit:,} (max_message_bytes)"
            )
            refused[i] = PoisonError(Reason.TOO_LARGE, words)
    return Judged(refused, rewritten, judged.values)
