"""What the group gives is read, what it takes is void at once, and nothing fetched before that is handed out."""

import pytest

from headrace.errors import ConfigError, FatalError
from headrace.kafka import KafkaError
from processors.group.member import Member
from processors.group.token import Partition, Revoked, Token
from tests.unit.toy_kafka import ToyConsumer, ToyKafka, offset

ONE, TWO = ("imu.raw", 0), ("imu.raw", 1)


def joined(*partitions: Partition, records: int = 3) -> tuple[ToyConsumer, Member]:
    """A member that reads the partitions from their beginning."""
    cluster = ToyKafka()
    for topic, number in (ONE, TWO):
        for _ in range(records):
            cluster.write(topic, b"x", number=number)
    client = ToyConsumer(cluster)
    member = Member(client)
    member.subscribe(["imu.raw"])
    client.give(*partitions)
    assert member.read(10, 0.0) == {}
    for partition in member.waiting:
        member.start(partition, 0)
    return client, member


def read(member: Member) -> dict[Partition, list[int]]:
    return {p: [offset(m) for m in found] for p, found in member.read(10, 0.0).items()}


def test_a_partition_is_read_once_it_is_started_and_only_then() -> None:
    client, member = joined(ONE)
    assert read(member) == {ONE: [0, 1, 2]}
    client.give(TWO)
    assert read(member) == {}
    assert list(member.waiting) == [TWO]
    assert read(member) == {}
    member.start(TWO, 1)
    assert read(member) == {TWO: [1, 2]}
    assert not member.waiting


def test_a_rebalance_leaves_alone_what_stays_ours() -> None:
    client, member = joined(ONE, TWO)
    kept = member.tokens[ONE]
    client.revoke(TWO)
    assert read(member) == {ONE: [0, 1, 2]}
    assert kept.live
    assert client.at.keys() == {ONE}


def test_a_partition_lost_while_everything_was_paused_is_read_when_it_comes_back() -> None:
    client, member = joined(ONE)
    member.stand_still()
    client.lose(ONE)
    member.serve(0.0)
    member.go_on()
    client.give(ONE)
    member.serve(0.0)
    member.start(ONE, 1)
    assert not client.paused
    assert read(member) == {ONE: [1, 2]}


def test_what_goes_is_void_at_once_and_a_new_assignment_has_a_new_token() -> None:
    client, member = joined(ONE)
    token = member.tokens[ONE]
    client.lose(ONE)
    client.give(ONE)
    member.serve(0.0)
    assert not token.live
    assert member.tokens[ONE].live
    with pytest.raises(Revoked):
        token.check()


def test_a_commit_is_possible_still_while_the_group_asks_for_a_partition_and_not_once_it_is_lost() -> None:
    client, member = joined(ONE, TWO)
    live: dict[Partition, bool] = {}
    member._leaving = lambda gone: live.update({p: member.tokens[p].live for p in gone})
    client.revoke(ONE)
    client.lose(TWO)
    member.serve(0.0)
    assert live == {ONE: True, TWO: False}
    assert not member.tokens


def test_messages_come_after_a_wait_and_the_end_of_a_log_after_them() -> None:
    _, member = joined(ONE, records=1)
    member.serve(0.0)
    member.serve(0.0)
    assert member.ends() == {}
    assert read(member) == {ONE: [0]}
    assert member.ends() == {ONE: 1}
    assert member.ends() == {}


def test_nothing_of_an_earlier_assignment_is_handed_out() -> None:
    client, member = joined(ONE, TWO, records=1)
    for _ in range(4):
        member.serve(0.0)
    client.lose(ONE)
    client.give(ONE)
    member.serve(0.0)
    member.start(ONE, 1)
    assert read(member) == {TWO: [0]}
    assert member.ends() == {TWO: 1}


def test_records_deleted_before_they_were_read_end_it() -> None:
    client, member = joined(ONE)
    client.fail(KafkaError._AUTO_OFFSET_RESET)
    with pytest.raises(FatalError, match=r"imu.raw/0: readings were deleted before they were read"):
        read(member)


def test_a_refusal_of_what_is_read_is_told_and_an_outage_is_not_news() -> None:
    client, member = joined(ONE)
    told: list[ConfigError] = []
    member._refused = told.append
    client.fail(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    client.fail(KafkaError._ALL_BROKERS_DOWN)
    client.fail(KafkaError._MAX_POLL_EXCEEDED)
    assert read(member) == {ONE: [0, 1, 2]}
    assert len(told) == 1


def test_a_member_waits_while_an_older_version_with_another_assignor_is_in_the_group() -> None:
    client, member = joined()
    client.fail(KafkaError.INCONSISTENT_GROUP_PROTOCOL, "", -1)
    assert read(member) == {}
    client.give(ONE)
    assert read(member) == {}
    assert list(member.waiting) == [ONE]


def test_a_refusal_of_what_is_read_ends_a_member_that_is_not_told_otherwise() -> None:
    client, member = joined(ONE)
    client.fail(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(ConfigError, match="TOPIC_AUTHORIZATION_FAILED"):
        read(member)


def test_a_token_stays_void() -> None:
    token = Token()
    token.check()
    token.wait(0.0)
    assert token.live
    token.void()
    assert not token.live
    with pytest.raises(Revoked):
        token.wait(60.0)


def test_only_messages_count_as_heard_of_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    client, member = joined(ONE, records=1)
    heard: list[bool] = []
    monkeypatch.setattr(member.contact, "keep", heard.append)
    member.read(10, 0.0)
    client.fail(KafkaError._ALL_BROKERS_DOWN, "", -1)
    member.read(10, 0.0)
    client.fail(KafkaError._ALL_BROKERS_DOWN, "", -1)
    member.serve(0.0)
    assert heard == [True, False, False]
