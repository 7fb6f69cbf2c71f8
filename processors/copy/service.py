"""copy: one topic to another, exactly once, as group/relay.py runs it. Each record is a row, in order, with its bytes.

A copy has the source position of its record: (leader epoch, offset, 0). If the source is a `.clean` topic, its rows
have positions of their own: by these, rows that were emitted twice are copied once, and a hole is a FatalError.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from headrace.config import Config
from headrace.errors import ConfigError, FatalError
from headrace.kafka import Message, columns, headers_of
from headrace.protocol.clean_note import Counts
from headrace.protocol.names import CLEAN
from headrace.protocol.wire import Headers, Position, others, provenance, record_bytes
from headrace.runtime.health import Health
from headrace.runtime.metrics import COPY_ROWS
from processors.arrays import Bools
from processors.group import relay
from processors.group.emit import Row
from processors.group.hold import PollHold
from processors.group.partition import Found, SourcePartition, offsets_of
from processors.group.relay import Outcome, Step
from processors.group.token import Partition, Token
from processors.positions import new_messages
from processors.provenance import marks, placed

log = logging.getLogger(__name__)


def run(config: Config, stop: threading.Event) -> None:
    """Copy until `stop` is set. ConfigError if no topics are named; FatalError as the design has it."""
    it = config.copying
    if not it.source:
        raise ConfigError("copy.from: no topic is named. Add copy: {from: imu.clean, to: imu_copy.clean}")
    settings = relay.Settings("copy", config.kafka, it.group, it.batch, {it.source: it.target})
    with Health(it.http, relay.CHECKS) as health:
        log.info("copying", extra={"from": it.source, "to": it.target, "http_port": health.port})
        relay.run(settings, Copier(), health, stop)


class Copier(Step[SourcePartition]):
    """The step of copy."""

    def begin(self, source: Partition, token: Token, found: Found, _kept: SourcePartition | None) -> SourcePartition:
        """A partition without any state of its own."""
        return SourcePartition(source, token, found)

    def decide(
        self, _wait: PollHold, batch: Sequence[tuple[SourcePartition, list[Message]]], limits: Mapping[str, int]
    ) -> list[Outcome]:
        """The copies of a batch."""
        return [_copied(it, messages, limits[it.target]) for it, messages in batch]

    def skipped(self, it: SourcePartition, count: int) -> None:
        """Count offsets that hold no record."""
        COPY_ROWS.labels(it.topic, "skipped").inc(count)


def _copied(it: SourcePartition, messages: list[Message], limit: int) -> Outcome:
    every: Bools = np.ones(len(messages), np.bool_)
    found = marks(columns.headers(messages))
    mask, taken = new_messages(found, it.note.taken) if it.topic.endswith(CLEAN) else (every, None)
    chosen = [messages[i] for i in np.flatnonzero(mask)]
    epochs = np.array(columns.epochs(chosen), np.int64)
    headers = placed(found[mask], epochs, offsets_of(chosen), it.note.last)
    rows = [_row(it, m, own, limit) for m, own in zip(chosen, headers, strict=True)]
    last = Position(int(epochs[-1]), chosen[-1].offset() or 0, 0) if chosen else it.note.last
    counts = Counts(kept=len(chosen), repeated=len(messages) - len(chosen))
    offset, note = it.advance(messages[-1], last, counts, taken)
    return Outcome(it, rows, (), offset, note, partial(_count, it.topic, counts))


def _row(it: SourcePartition, m: Message, own: Headers, limit: int) -> Row:
    """FatalError if the target would not take the copy: a delivery that fails leaves a hole."""
    key, value, given = m.key(), m.value(), headers_of(m)
    ((name, placed_at),) = own
    headers: Headers = [(name, placed_at + provenance(given).mqtt_topic), *others(given)]
    if len(m) > limit // 2 and (size := record_bytes(key, value or b"", headers)) > limit:
        raise FatalError(
            f"{it.topic}/{it.number}: the copy of offset {m.offset()} has {size:,} bytes, and {it.target} takes "
            f"{limit:,}. Set its max.message.bytes to at least that"
        )
    return key, value, headers


def _count(topic: str, counts: Counts) -> None:
    for outcome, n in counts._asdict().items():
        if n:
            COPY_ROWS.labels(topic, outcome).inc(n)
