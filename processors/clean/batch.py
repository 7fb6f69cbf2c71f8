"""A batch of raw messages of several partitions, and what becomes of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from headrace import deadletters
from headrace.cleanmeta import Counts
from headrace.config import Config
from headrace.deadletters import Letter
from headrace.errors import PoisonError, Reason
from headrace.kafka import Message, epoch_of, headers_of
from headrace.names import clean_topic, stream_of
from headrace.wire import EVENT_ID, POSITION, RECEIVED_AT, Headers, Position, record_bytes
from processors.clean.judge import Judged, judge
from processors.clean.partition import Partition, checked_id, offsets_of
from processors.clean.positions import position_headers
from processors.clean.schemas import Schemas
from processors.lookback import Rows, rows

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_POSITION_BYTES = 32
_TIME_BYTES = 20  # digits of a 64-bit number and its sign
T = TypeVar("T")


@dataclass(slots=True)
class Stretch:
    """Consecutive raw messages of one partition, all from `partition.next` on."""

    partition: Partition
    messages: list[Message]
    values: list[bytes | None]
    keys: list[bytes | None]
    headers: list[Headers]  # those that are forwarded
    ids: Rows
    repeats: Mask
    judged: Judged = field(default_factory=Judged)
    letters: dict[int, Letter] = field(default_factory=dict)

    @property
    def counts(self) -> Counts:
        """What becomes of the rows."""
        repeated, rejected, changed = int(self.repeats.sum()), len(self.letters), len(self.judged.rewritten)
        return Counts(len(self.messages) - repeated - rejected - changed, changed, rejected, repeated)


def stretch(partition: Partition, messages: list[Message]) -> Stretch:
    """The messages taken apart, and which of them repeat a reading."""
    headers, ids = [], []
    for m in messages:
        forwarded, event = _forwarded(m)
        headers.append(forwarded)
        ids.append(event)
    looked = rows(ids, offsets_of(messages))
    values, keys = [_bytes(m.value()) for m in messages], [_bytes(m.key()) for m in messages]
    return Stretch(partition, messages, values, keys, headers, looked, partition.lookback.repeats(looked))


def decide(stretches: Sequence[Stretch], schemas: Schemas, limits: dict[str, int]) -> None:
    """Judge all rows, those of one schema together. TransientError while the registry is away: call it again.

    `limits` holds the bytes that a message of each clean topic may have.
    """
    values = [v for s in stretches for v in s.values]
    append_ms = np.fromiter((m.timestamp()[1] for s in stretches for m in s.messages), np.int64, len(values))
    verdict = judge(values, append_ms, np.concatenate([s.repeats for s in stretches]), schemas)
    first = 0
    for s in stretches:
        last = first + len(s.values)
        s.judged = Judged(_part(verdict.refused, first, last), _part(verdict.rewritten, first, last))
        _refuse_too_large(s, limits[clean_topic(stream_of(s.partition.topic))])
        first = last


def write_letters(it: Stretch, config: Config, put: Callable[[str, bytes], None]) -> None:
    """Make the dead letters of the refused rows; `put` stores what is too large for Kafka, and may be called again."""
    for i, error in it.judged.refused.items():
        m = it.messages[i]
        letter = deadletters.letter(
            error,
            it.values[i] or b"",
            stage="clean",
            stream=stream_of(it.partition.topic),
            source={
                "topic": it.partition.topic,
                "topic_id": it.partition.note.topic_id,
                "partition": it.partition.number,
                "epoch": epoch_of(m),
                "offset": m.offset() or 0,
                "index": 0,
            },
            original=[(name, value or b"") for name, value in headers_of(m)],
        )
        it.letters[i] = deadletters.shelve(config, letter, put)


def emitted(it: Stretch) -> tuple[list[tuple[int, bytes]], Position]:
    """(rows that go to the clean topic and their `position` headers, the source of the last row emitted so far)."""
    out = ~it.repeats
    out[list(it.letters)] = False
    chosen = np.flatnonzero(out)
    last = it.partition.note.last
    if not len(chosen):
        return [], last
    offsets = offsets_of(it.messages)[chosen]
    epochs = np.fromiter((epoch_of(it.messages[i]) for i in chosen), np.int64, len(chosen))
    positions = position_headers(epochs, offsets, last)
    return list(zip(chosen.tolist(), positions, strict=True)), Position(int(epochs[-1]), int(offsets[-1]), 0)


def _refuse_too_large(it: Stretch, limit: int) -> None:
    """What the clean topic would refuse: a delivery that fails would leave a hole."""
    largest = max(map(len, filter(None, it.values)), default=0) + max(map(len, filter(None, it.keys)), default=0)
    if largest < limit // 2:
        return
    for i, raw in enumerate(it.values):
        if raw is None:
            continue
        value = it.judged.rewritten.get(i, raw)
        bytes_needed = record_bytes(it.keys[i], value, it.headers[i]) + _POSITION_BYTES + len(POSITION) + 10
        if bytes_needed > limit and i not in it.judged.refused:
            it.judged.rewritten.pop(i, None)
            text = f"{bytes_needed:,} bytes cleaned, {limit:,} are taken"
            it.judged.refused[i] = PoisonError(Reason.TOO_LARGE, text)


def _forwarded(m: Message) -> tuple[Headers, bytes | None]:
    """The headers that a clean row keeps, and the event id. Those that can't be what their names say are left out."""
    headers = headers_of(m)
    if len(headers) > 1 and headers[0][0] == EVENT_ID and headers[1][0] == RECEIVED_AT:  # as the bridge writes them
        event = checked_id(headers[0][1])
        if event is not None and _is_short(headers[1][1]):
            return headers[:2], event
    kept: Headers = []
    event = checked_id(next((v for n, v in headers if n == EVENT_ID and v is not None), None))
    if event is not None:
        kept.append((EVENT_ID, event))
    kept += [(n, v) for n, v in headers if n == RECEIVED_AT and _is_short(v)][:1]
    return kept, event


def _is_short(received: bytes | None) -> bool:
    return received is not None and len(received) <= _TIME_BYTES


def _part(found: dict[int, T], first: int, last: int) -> dict[int, T]:
    return {i - first: v for i, v in found.items() if first <= i < last}


def _bytes(x: str | bytes | None) -> bytes | None:
    return x.encode() if isinstance(x, str) else x
