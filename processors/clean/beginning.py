"""Where nothing is committed: whether the rows in the clean topic came from this raw topic, or from one before it.

Kafka forgets a group's offsets when they expire, and with the topic when it is deleted. After the first, clean begins
again and its readers drop by position what they have. After the second, the positions themselves begin again: whoever
reads the clean topic would take new readings for old ones, and drop them.
"""

from collections.abc import Iterable, Iterator

from headrace import kafka, partition
from headrace.config import Config
from headrace.errors import FatalError
from headrace.kafka import Message, epoch_of, headers_of
from headrace.names import clean_topic, stream_of
from headrace.wire import POSITION, Position, header, unpack_position
from processors.assignment import Place
from processors.clean.partition import event_id

_POSITION_BYTES = 32
_LOOK_AT, _MOST = 100, 10_000  # records at the clean topic's end: some may be a stranger's
_GIVE_UP_SECONDS = 10.0


def check(config: Config, place: Place, low: int, high: int) -> None:
    """FatalError, with the way out, where the clean topic's last row did not come from this raw log, [low, high).

    TransientError while Kafka is away.
    """
    topic = clean_topic(stream_of(place[0]))
    client = partition.reader(config.kafka)
    try:
        found = _newest(client, topic, place[1])
        if found is None or found[0].offset < low:  # further on than any position there: nothing can be taken for old
            return
        src, row = found
        raw = next(_read(client, *place, src.offset, src.offset + 1), None) if src.offset < high else None
        if raw is not None and epoch_of(raw) == src.epoch and event_id(raw) == event_id(row):
            return
    finally:
        client.close()
    raise FatalError(
        f"{place[0]}/{place[1]}: nothing is committed, and {topic} holds a row from offset {src.offset} that is not "
        "the record there: the topic was deleted and created again. Positions begin again, and the archive would "
        f"drop new readings as old ones. Once it has stored {topic}, stop it, delete that topic too, and run "
        "`headrace provision` and `headrace archive adopt`"
    )


def _read(client: kafka.Consumer, topic: str, number: int, first: int, end: int) -> Iterator[Message]:
    return partition.read(client, topic, number, first, end, _GIVE_UP_SECONDS)


def _newest(client: kafka.Consumer, topic: str, number: int) -> tuple[Position, Message] | None:
    """The last row of the clean topic, and its position: behind it there may be any number of a stranger's records."""
    begin, end = kafka.watermarks(client, topic, number)
    size = _LOOK_AT
    while begin < end:
        first = max(begin, end - size)
        found = _last(_read(client, topic, number, first, end))
        if found is not None:
            return found
        end, size = first, min(size * 10, _MOST)
    return None


def _last(rows: Iterable[Message]) -> tuple[Position, Message] | None:
    """The row with the highest position, and that position."""
    out: tuple[Position, Message] | None = None
    for m in rows:
        data = header(headers_of(m), POSITION)
        if data is not None and len(data) == _POSITION_BYTES:
            src, _ = unpack_position(data)
            out = (src, m) if out is None or src >= out[0] else out
    return out
