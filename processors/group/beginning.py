"""If nothing is committed: whether the rows in the target came from this source topic, or from one before it.

Kafka forgets a group's offsets when they expire, and with the topic when it is deleted. After the first, the service
begins again and its readers drop by position what they have. After the second, the positions themselves begin again: a
reader of the target would take new readings for old ones, and drop them.
"""

from collections.abc import Callable, Iterable, Mapping

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.deadletters import of_message
from headrace.errors import FatalError
from headrace.kafka import Message, epoch_of, headers_of, partition
from headrace.kafka.ends import log_ends
from headrace.protocol.wire import Position, provenance, unpack_position
from processors.group.partition import event_id
from processors.group.token import Partition

_LOOK_AT, _MOST = 100, 10_000  # records at the target's end: some may be a stranger's
_GIVE_UP_SECONDS = 10.0
TargetRow = tuple[Position, Message]  # a row of the target, and its source position
IdOf = Callable[[Message, int], bytes | None]


def same_id(m: Message, _item: int) -> bytes | None:
    """The event id of a row that is its source's, as it came or cleaned."""
    return event_id(m)


def check(
    cfg: Kafka, logs: Mapping[Partition, tuple[int, int]], targets: Mapping[str, str], id_of: IdOf = same_id
) -> None:
    """FatalError, with the way out, if the newest row of a target partition did not come from its source log.

    `logs`: (first offset, one past the last) of each source partition; `targets`: where the rows of each source topic
    go; `id_of(record, item)`: the event id of a row of a source record. One client reads all of them. TransientError
    while Kafka is away.
    """
    if not logs:
        return
    client = partition.reader(cfg)
    try:
        newest = _newest(cfg, client, [(targets[topic], number) for topic, number in logs])
        # A row from before the source log's begin says nothing; and new positions are all above it.
        rows = {p: row for p in logs if (row := newest.get((targets[p[0]], p[1]))) and row[0].offset >= logs[p][0]}
        spans = {p: (src.offset, src.offset + 1) for p, (src, _) in rows.items() if src.offset < logs[p][1]}
        origins = {(m.topic(), m.partition()): m for m in partition.read_many(client, spans, _GIVE_UP_SECONDS)}
    finally:
        client.close()
    for p, row in rows.items():
        if not _is_origin(origins.get(p), row, id_of):
            raise _another_log(p, targets[p[0]], row[0])


def emitted(cfg: Kafka, target: Partition, since: int, window: int) -> int:
    """The highest source offset of all rows in a target partition; `since - 1` if none is from `since` on.

    It reads back `window` records at a time, until there is no such row among them. TransientError while Kafka is away.
    """
    first, end = log_ends(cfg, [target])[target]
    highest, client = since - 1, partition.reader(cfg)
    try:
        while first < end:
            begin = max(first, end - window)
            found = _highest(partition.read_many(client, {target: (begin, end)}, _GIVE_UP_SECONDS))
            offset = found[target][0].offset if target in found else -1
            if offset < since:
                break
            highest, end = max(highest, offset), begin
    finally:
        client.close()
    return highest


def refused(cfg: Kafka, letters: str, source: Partition, since: int, stream: str) -> int:
    """The highest offset of a source partition that a dead letter of a stream was made of; `since - 1` for none.

    It reads the whole topic of the letters. TransientError while Kafka is away.
    """
    info = kafka.describe(cfg, [letters]).get(letters)
    spans = log_ends(cfg, [(letters, n) for n in range(info.partitions)]) if info is not None else {}
    highest, client = since - 1, partition.reader(cfg)
    try:
        for m in partition.read_many(client, spans, _GIVE_UP_SECONDS):
            letter = of_message(m)
            it, offset = letter.source, letter.source.get("offset")
            if (
                letter.text("stream") == stream
                and (it.get("topic"), it.get("partition")) == source
                and isinstance(offset, int)
            ):
                highest = max(highest, offset)
    finally:
        client.close()
    return highest


def _is_origin(m: Message | None, row: TargetRow, id_of: IdOf) -> bool:
    return m is not None and epoch_of(m) == row[0].epoch and id_of(m, row[0].item) == event_id(row[1])


def _another_log(source: Partition, target: str, src: Position) -> FatalError:
    return FatalError(
        f"{source[0]}/{source[1]}: nothing is committed, and {target} holds a row from offset {src.offset} that is not "
        "the record there: the topic was deleted and created again. Positions begin again, and the archive would "
        f"drop new readings as old ones. Once it has stored {target}, stop it, delete that topic too, and run "
        "`headrace provision` and `headrace archive adopt`"
    )


def _newest(cfg: Kafka, client: kafka.Consumer, targets: Iterable[Partition]) -> dict[Partition, TargetRow]:
    """The last row of each target partition that has one: behind it there may be any number of a stranger's records."""
    left = {p: ends for p, ends in log_ends(cfg, list(targets)).items() if ends[0] < ends[1]}
    out: dict[Partition, TargetRow] = {}
    size = _LOOK_AT
    while left:
        spans = {p: (max(first, end - size), end) for p, (first, end) in left.items()}
        out |= _highest(partition.read_many(client, spans, _GIVE_UP_SECONDS))
        left = {p: (left[p][0], begin) for p, (begin, _) in spans.items() if p not in out and left[p][0] < begin}
        size = min(size * 10, _MOST)
    return out


def _highest(messages: Iterable[Message]) -> dict[Partition, TargetRow]:
    """The row with the highest position of each partition."""
    out: dict[Partition, TargetRow] = {}
    for m in messages:
        position = provenance(headers_of(m)).position
        if not position:
            continue
        src, _ = unpack_position(position)
        p = (m.topic() or "", m.partition() or 0)
        if p not in out or src >= out[p][0]:
            out[p] = (src, m)
    return out
