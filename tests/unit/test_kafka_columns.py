"""Messages column by column."""

from typing import Any

import pytest

from headrace.kafka import Message, columns


def message(headers: Any = None, topic: str = "t", partition: int = 0, offset: int = 0, **more: Any) -> Message:
    return Message(topic, partition, offset, key=b"k", value=b"v", headers=headers, timestamp=(2, 7), **more)


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
    messages = [message([("a", b"1")], offset=4, leader_epoch=3), message(offset=5)]
    assert columns.offsets(messages) == [4, 5]
    assert columns.epochs(messages) == [3, -1]
    assert columns.epochs(messages[:1]) == [3]
    assert columns.appended_ms(messages) == [7, 7]
    assert columns.headers(messages) == [[("a", b"1")], None]
    assert columns.keys(messages) == [b"k", b"k"]
    assert columns.values(messages) == [b"v", b"v"]
