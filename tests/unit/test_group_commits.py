"""Whether a broker keeps the metadata of offsets is tried at start, in a group that is nobody's."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import Producer

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.config.model import Http
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.kafka import KafkaError, KafkaException, TopicInfo
from headrace.runtime import backoff
from headrace.runtime.health import Health
from processors.group import startup
from processors.group.commits import PROBE, Commits, Wanted, prove
from processors.group.token import Partition, Revoked, Token
from tests.unit.toy_kafka import ToyConsumer, ToyKafka

TOPICS = ["imu.raw"]


ONE = ("imu.raw", 0)
CFG = Kafka(bootstrap="kafka.example:9092")


class Broker(ToyConsumer):
    """The trial's own client, of a broker that keeps `room` characters beside an offset.

    `refusal`: the error that it answers a commit with. `deleted`: how often another service deletes the trial's group
    between its commit and the question for it.
    """

    def __init__(self, room: int = 4096, refusal: KafkaError | None = None, deleted: int = 0) -> None:
        self.cluster = ToyKafka()
        super().__init__(self.cluster)
        self._room, self._refusal, self._deleted = room, refusal, deleted
        self.asked = 0
        self.requests: list[int] = []  # partitions of each commit

    def commit(self, *, offsets: list[kafka.TopicPartition], asynchronous: bool = False) -> Any:  # type: ignore[override]
        self.requests.append(len(offsets))
        if self._refusal is not None:
            raise KafkaException(self._refusal)
        return super().commit(offsets=offsets, asynchronous=asynchronous)

    def committed(self, partitions: list[kafka.TopicPartition], timeout: float = -1) -> list[kafka.TopicPartition]:
        self.asked += 1
        if self._deleted:
            self._deleted -= 1
            self.cluster.committed.clear()
        found = super().committed(partitions, timeout)
        return [kafka.TopicPartition(t.topic, t.partition, t.offset, (t.metadata or "")[: self._room]) for t in found]


class Groups:
    """What an administrator's client says of groups: `closed` ones are not this user's to look at."""

    def __init__(self, *, closed: bool = False) -> None:
        self.closed = closed
        self.deleted: list[str] = []

    def describe_consumer_groups(self, groups: list[str], request_timeout: float) -> "dict[str, Future[None]]":
        return {group: _answer(KafkaError.GROUP_AUTHORIZATION_FAILED if self.closed else None) for group in groups}

    def delete_consumer_groups(self, groups: list[str], request_timeout: float) -> "dict[str, Future[None]]":
        self.deleted += groups
        return {group: _answer(None) for group in groups}


def _answer(error: int | None) -> "Future[None]":
    out: Future[None] = Future()
    if error is None:
        out.set_result(None)
    else:
        out.set_exception(KafkaException(KafkaError(error)))
    return out


class Trial:
    """Tries a broker for the group `archive`. `groups`: of its clients, the trial's own and no other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clients: list[str] = []
        self.groups = Groups()
        self._patch = monkeypatch
        monkeypatch.setattr("random.random", lambda: 0.0)

    def __call__(self, broker: Broker, topics: tuple[str, ...] = ("imu.raw",), *, closed: bool = False) -> None:
        def consumer(_cfg: Kafka, group: str) -> Broker:
            self.clients.append(group)
            return broker

        def describe(_cfg: Kafka, asked: Sequence[str]) -> dict[str, TopicInfo]:
            return {t: TopicInfo("id", 1, 1000) for t in asked if t in topics}

        self.groups.closed = closed
        self._patch.setattr(kafka, "consumer", consumer)
        self._patch.setattr(kafka, "describe", describe)
        self._patch.setattr("headrace.kafka.client.admin", lambda _cfg: self.groups)
        prove(CFG, "archive", TOPICS)


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    return Trial(monkeypatch)


def test_librdkafkas_own_mock_broker_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real client against a broker that can't describe topics nor delete groups."""
    owner = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused:1", "log_level": 0})
    found = owner.list_topics(TOPICS[0], timeout=30).brokers.values()
    monkeypatch.setattr(kafka, "describe", lambda _cfg, topics: {t: TopicInfo("id", 1, 1000) for t in topics})
    monkeypatch.setattr("headrace.kafka.client.admin", lambda _cfg: Groups())
    cfg = Kafka(bootstrap=",".join(f"{b.host}:{b.port}" for b in found))
    prove(cfg, "archive", TOPICS)
    client = kafka.consumer(cfg, "archive")
    try:
        assert kafka.committed(client, [ONE])[ONE][0] is None, "the group itself is not touched"
    finally:
        client.close()


def test_a_broker_that_keeps_it_is_taken_and_the_trials_group_deleted(trial: Trial) -> None:
    broker = Broker()
    trial(broker)
    assert broker.cluster.committed == {ONE: (0, PROBE)}
    assert (trial.clients, trial.groups.deleted, broker.closed) == (["archive-probe"], ["archive-probe"], True)


@pytest.mark.parametrize("room", [0, 100, len(PROBE) - 1])
def test_a_broker_that_drops_or_cuts_it_is_refused(room: int, trial: Trial) -> None:
    with pytest.raises(ConfigError, match=rf"{CFG.bootstrap}.*came back.*Use a broker that keeps it"):
        trial(Broker(room))
    assert trial.groups.deleted == ["archive-probe"]


def test_a_broker_that_keeps_no_commit_is_refused(trial: Trial) -> None:
    broker = Broker(deleted=99)
    with pytest.raises(ConfigError, match="nothing came back"):
        trial(broker)
    assert (broker.asked, broker.closed) == (5, True)


def test_another_service_of_the_group_may_have_deleted_it_meanwhile(trial: Trial) -> None:
    broker = Broker(deleted=2)
    trial(broker)
    assert broker.asked == 3
    assert broker.cluster.committed == {ONE: (0, PROBE)}


def test_without_any_of_the_topics_nothing_is_tried_yet(trial: Trial) -> None:
    broker = Broker()
    with pytest.raises(TransientError, match=r"no topic imu\.raw yet"):
        trial(broker, ("other",))
    assert (trial.clients, broker.cluster.committed) == ([], {})


def test_one_that_takes_no_such_note_is_refused_with_the_remedy(trial: Trial) -> None:
    with pytest.raises(ConfigError, match=r"archive-probe.*offset\.metadata\.max\.bytes at 512"):
        trial(Broker(refusal=KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)))


@pytest.mark.parametrize("closed", [True, False])
def test_a_user_who_may_not_use_the_trials_group_is_let_on_with_a_warning(
    closed: bool, trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(refusal=KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
    with caplog.at_level("WARNING"):
        trial(broker, closed=closed)
    assert "the first commit will show whether Kafka keeps it" in caplog.text
    assert (trial.clients, broker.cluster.committed) == ([] if closed else ["archive-probe"], {})


def test_what_ends_a_client_is_no_wrong_configuration(trial: Trial) -> None:
    broker = Broker(refusal=KafkaError(KafkaError._FATAL, "fenced", fatal=True))
    with pytest.raises(FatalError, match="fenced"):
        trial(broker)
    assert broker.closed


@pytest.mark.parametrize("room", [0, 3])
def test_a_first_commit_whose_note_does_not_come_back_whole_is_the_end(room: int) -> None:
    with pytest.raises(FatalError, match="this broker can't be used"):
        Commits(Broker(room)).commit(Token(), ONE, 1, "note")


def test_the_first_commit_is_read_back_and_the_later_ones_are_not() -> None:
    client = Broker(100)
    commits = Commits(client)
    for offset in range(3):
        commits.commit(Token(), ONE, offset, "note")
    assert (client.asked, client.cluster.committed) == (1, {ONE: (2, "note")})


def test_a_void_token_commits_nothing() -> None:
    client, token = Broker(100), Token()
    token.void()
    with pytest.raises(Revoked):
        Commits(client).commit(token, ONE, 1, "note")
    assert client.cluster.committed == {}


def several(count: int) -> list[Wanted]:
    """What to commit of so many partitions."""
    return [Wanted(Token(), ("imu.raw", n), 10 + n, f"note {n}") for n in range(count)]


def noted(wanted: Sequence[Wanted]) -> dict[Partition, tuple[int, str]]:
    """What Kafka is to have of them."""
    return {it.partition: (it.offset, it.metadata) for it in wanted}


def test_partitions_are_committed_together_and_those_taken_away_are_left_out() -> None:
    client, wanted = Broker(100), several(4)
    wanted[1].token.void()
    ours = [it for it in wanted if it.token.live]
    assert Commits(client).commit_all(wanted) == {it.partition for it in ours}
    assert client.cluster.committed == noted(ours)
    assert client.requests == [3]


def test_a_commit_of_nothing_that_is_ours_asks_kafka_nothing() -> None:
    client, wanted = Broker(100), several(2)
    for it in wanted:
        it.token.void()
    assert Commits(client).commit_all(wanted) == set()
    assert (client.requests, client.asked) == ([], 0)


def test_many_partitions_take_several_requests_each_well_below_what_kafka_takes() -> None:
    client, wanted = Broker(100), several(450)
    assert len(Commits(client).commit_all(wanted)) == 450
    assert client.cluster.committed == noted(wanted)
    assert client.requests == [200, 200, 50]


def test_after_a_failure_the_same_call_commits_the_rest() -> None:
    client, wanted = Broker(100), several(3)
    client.torn = [1]
    commits = Commits(client)
    with pytest.raises(TransientError, match=r"committing imu\.raw/0 at 10 and 2 others"):
        commits.commit_all(wanted)
    assert client.cluster.committed == noted(wanted[:1])
    assert commits.commit_all(wanted) == {it.partition for it in wanted}
    assert client.cluster.committed == noted(wanted)


def test_of_a_first_commit_of_several_each_is_read_back() -> None:
    client = Broker(6)
    longer = [*several(2), Wanted(Token(), ("imu.raw", 2), 5, "a longer note")]
    with pytest.raises(FatalError, match=r"imu\.raw/2.*this broker can't be used"):
        Commits(client).commit_all(longer)


def test_a_commit_from_another_thread_than_the_one_that_polls_is_never_made() -> None:
    client = Broker(100)
    commits = Commits(client)
    with ThreadPoolExecutor(1) as other, pytest.raises(AssertionError, match="poll thread"):
        other.submit(commits.commit, Token(), ONE, 1, "note").result()
    assert client.cluster.committed == {}


def test_the_service_waits_for_kafka_and_its_topics_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, tries = threading.Event(), []

    def not_yet(*_: Any) -> None:
        tries.append(health.is_ready()[1]["checks"])
        if len(tries) < 3:
            raise TransientError("Kafka has no topic imu.raw yet")

    monkeypatch.setattr("processors.group.commits.prove", not_yet)
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.01)
    with Health(Http(), ("kafka",)) as health:
        assert startup.await_kafka(Kafka(), "archive", TOPICS, health, stop)
        assert tries[1:] == [{"kafka": "Kafka has no topic imu.raw yet"}] * 2
        assert health.is_ready()[0]
        tries.clear()
        stop.set()
        assert not startup.await_kafka(Kafka(), "archive", TOPICS, health, stop)
        assert tries == []
