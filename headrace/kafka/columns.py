"""What a list of messages holds, column by column: each is one call of C's `map`, not a step of Python a message."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import cast

from headrace.kafka import Message
from headrace.protocol.wire import Headers


def offsets(messages: Sequence[Message]) -> list[int]:
    """The offset of each."""
    return cast("list[int]", list(map(Message.offset, messages)))


def values(messages: Sequence[Message]) -> list[bytes | None]:
    """The value of each."""
    return list(map(Message.value, messages))


def keys(messages: Sequence[Message]) -> list[bytes | None]:
    """The key of each."""
    return list(map(Message.key, messages))


def headers(messages: Sequence[Message]) -> list[Headers | None]:
    """The headers of each; None where there are none."""
    return cast("list[Headers | None]", list(map(Message.headers, messages)))


def appended_ms(messages: Sequence[Message]) -> list[int]:
    """When Kafka took each, milliseconds since 1970 UTC."""
    return [milliseconds for _, milliseconds in map(Message.timestamp, messages)]


def epochs(messages: Sequence[Message]) -> list[int]:
    """The leader epoch of each; -1 where the broker gives none."""
    found = list(map(Message.leader_epoch, messages))
    return [-1 if epoch is None else epoch for epoch in found] if None in found else cast("list[int]", found)


def runs(messages: Sequence[Message]) -> Iterator[tuple[tuple[str, int], list[Message]]]:
    """Messages without errors as they came, cut where the (topic, partition) changes."""
    begin = 0
    for partition, run in groupby(zip(map(Message.topic, messages), map(Message.partition, messages), strict=True)):
        end = begin + len(list(run))
        yield cast("tuple[str, int]", partition), list(messages[begin:end])
        begin = end


def before(messages: Sequence[Message], offset: int) -> int:
    """How many of the messages of one partition, in its order, lie before `offset`."""
    return bisect_left(messages, offset, key=Message.offset)  # type: ignore[arg-type]  # none is without an offset
