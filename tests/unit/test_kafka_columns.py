"""Messages column by column, and event ids of many messages at once."""

from typing import Any

import pytest

from headrace.kafka import Message, columns
from headrace.protocol.wire import EVENT_ID, RECEIVED_AT
from processors.group.partition import event_id, event_ids

ID, OTHER = b"i" * 16, b"j" * 16
IDS = [
    [(EVENT_ID, ID), (RECEIVED_AT, b"1")],
    [(EVENT_ID, OTHER)],
    [(RECEIVED_AT, b"1"), (EVENT_ID, ID)],
    [(EVENT_ID, b"short")],
    [(EVENT_ID, None), (EVENT_ID, ID)],
    [(RECEIVED_AT, b"1")],
    [],
    None,
]


def message(headers: Any = None, topic: str = "t", partition: int = 0, offset: int = 0, **more: Any) -> Message:
    return Message(topic, partition, offset, key=b"k", value=b"v", headers=headers, timestamp=(2, 7), **more)


@pytest.mark.parametrize("some", [IDS, IDS[:1], IDS[:2], *([IDS[0], it] for it in IDS)])
def test_event_ids_are_those_of_each_message(some: list[Any]) -> None:
    messages = [message(it) for it in some]
    assert event_ids(columns.headers(messages)) == [event_id(m) for m in messages]


def test_runs_are_cut_where_topic_or_partition_changes() -> None:
    where = [("a", 0), ("a", 0), ("a", 1), ("b", 1), ("a", 0)]
    messages = [message(topic=t, partition=p, offset=i) for i, (t, p) in enumerate(where)]
    found = [(key, columns.offsets(run)) for key, run in columns.runs(messages)]
    assert found == [(("a", 0), [0, 1]), (("a", 1), [2]), (("b", 1), [3]), (("a", 0), [4])]
    assert list(columns.runs([])) == []


@pytest.mark.parametrize(("offset", "count"), [(0, 0), (5, 0), (6, 1), (7, 1), (9, 2), (10, 3)])
def test_before_counts_the_messages_below_an_offset(offset: int, count: int) -> None:
    assert columns.before([message(offset=at) for at in (5, 7, 9)], offset) == count


def test_each_column_has_one_element_a_message() -> None:
    messages = [message(IDS[0], offset=4, leader_epoch=3), message(offset=5)]
    assert columns.offsets(messages) == [4, 5]
    assert columns.epochs(messages) == [3, -1]
    assert columns.epochs(messages[:1]) == [3]
    assert columns.appended_ms(messages) == [7, 7]
    assert columns.keys(messages) == [b"k", b"k"]
    assert columns.values(messages) == [b"v", b"v"]
