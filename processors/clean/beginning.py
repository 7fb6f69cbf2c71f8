"""Where nothing is committed: whether the rows in the clean topic came from this raw topic, or from one before it.

Kafka forgets a group's offsets when they expire, and with the topic when it is deleted. After the first, clean begins
again and its readers drop by position what they have. After the second, the positions themselves begin again: whoever
reads the clean topic would take new readings for old ones, and drop them.
"""

import time

from headrace import kafka
from headrace.config import Config
from headrace.errors import FatalError, TransientError
from headrace.kafka import Message
from headrace.names import clean_topic, stream_of
from headrace.wire import POSITION, Position, header, unpack_position
from processors.assignment import Place
from processors.clean.partition import epoch_of, event_id, headers_of

_POSITION_BYTES = 32
_LOOK_AT, _MOST = 100, 10_000  # records at the clean topic's end: some may be a stranger's
_GIVE_UP_SECONDS = 10.0


def check(config: Config, place: Place, low: int, high: int) -> None:
    """FatalError, with the way out, where the clean topic's last row did not come from this raw log, [low, high).

    TransientError while Kafka is away.
    """
    topic = clean_topic(stream_of(place[0]))
    client = kafka.consumer(config.kafka, config.clean.group, enable_partition_eof=True)
    try:
        found = _newest(client, topic, place[1])
        if found is None or found[0].offset < low:  # further on than any position there: nothing can be taken for old
            return
        src, row = found
        raw = _read(client, *place, src.offset, src.offset + 1) if src.offset < high else []
        if raw and epoch_of(raw[0]) == src.epoch and event_id(raw[0]) == event_id(row):
            return
    finally:
        client.close()
    raise FatalError(
        f"{place[0]}/{place[1]}: nothing is committed, and {topic} holds a row from offset {src.offset} that is not "
        "the record there: the topic was deleted and created again. Positions begin again, and the archive would "
        f"drop new readings as old ones. Once it has stored {topic}, stop it, delete that topic too, and run "
        "`headrace provision` and `headrace archive adopt`"
    )


def _newest(client: kafka.Consumer, topic: str, partition: int) -> tuple[Position, Message] | None:
    """The last row of the clean topic, and its position: behind it there may be any number of a stranger's records."""
    begin, end = kafka.watermarks(client, topic, partition)
    size = _LOOK_AT
    while begin < end:
        first = max(begin, end - size)
        found = _last(_read(client, topic, partition, first, end))
        if found is not None:
            return found
        end, size = first, min(size * 10, _MOST)
    return None


def _last(rows: list[Message]) -> tuple[Position, Message] | None:
    """The row with the highest position, and that position."""
    out: tuple[Position, Message] | None = None
    for m in rows:
        data = header(headers_of(m), POSITION)
        if data is not None and len(data) == _POSITION_BYTES:
            src, _ = unpack_position(data)
            out = (src, m) if out is None or src >= out[0] else out
    return out


def _read(client: kafka.Consumer, topic: str, partition: int, begin: int, end: int) -> list[Message]:
    """The records [begin, end)."""
    out: list[Message] = []
    if begin >= end:
        return out
    client.assign([kafka.TopicPartition(topic, partition, begin)])
    until = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < until:
        for m in client.consume(_LOOK_AT, 0.5):
            error = m.error()
            if error is not None and error.name() != "_PARTITION_EOF":
                raise kafka.translate(error, f"reading {topic}/{partition}")
            if error is not None or (m.offset() or 0) >= end:
                return out
            out.append(m)
            if (m.offset() or 0) == end - 1:
                return out
    raise TransientError(f"Kafka sent nothing of {topic}/{partition} for {_GIVE_UP_SECONDS:.0f} s")
