"""Whether a broker keeps the metadata of offsets is tried at start, in a group that is nobody's."""

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from confluent_kafka import Producer

from headrace import kafka
from headrace.config.connect import Kafka
from headrace.config.model import Http
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.health import Health
from headrace.kafka import TopicInfo
from processors import metadata, startup

TOPICS = ["imu.raw"]


@pytest.fixture
def cfg(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kafka]:
    """librdkafka's own mock broker, which keeps metadata, and can't describe topics nor delete groups."""
    owner = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused:1", "log_level": 0})
    found = owner.list_topics(TOPICS[0], timeout=30).brokers.values()
    monkeypatch.setattr(kafka, "describe", lambda _cfg, topics: {t: TopicInfo("id", 1, 1000) for t in topics})
    monkeypatch.setattr(kafka, "forget_group", lambda _cfg, group: forgotten.append(group))
    monkeypatch.setattr(kafka, "meet_group", lambda *_: None)
    forgotten: list[str] = []
    yield Kafka(bootstrap=",".join(f"{b.host}:{b.port}" for b in found))
    assert set(forgotten) <= {"archive-probe"}


def answers(monkeypatch: pytest.MonkeyPatch, *found: tuple[int | None, str]) -> None:
    """What the broker gives back, time after time."""
    given = list(found)
    monkeypatch.setattr(kafka, "committed", lambda _client, places: {places[0]: given.pop(0)})


def test_a_broker_that_keeps_it_is_taken_and_the_group_itself_is_not_touched(cfg: Kafka) -> None:
    metadata.prove(cfg, "archive", TOPICS)
    client = kafka.consumer(cfg, "archive")
    try:
        assert kafka.committed(client, [("imu.raw", 0)])["imu.raw", 0][0] is None
    finally:
        client.close()


@pytest.mark.parametrize("found", ["", metadata.PROBE[:100]])
def test_a_broker_that_drops_or_cuts_it_is_refused(found: str, cfg: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, (0, found))
    with pytest.raises(ConfigError, match=rf"{cfg.bootstrap}.*came back.*Use a broker that keeps it"):
        metadata.prove(cfg, "archive", TOPICS)


def test_a_broker_that_keeps_no_commit_is_refused(cfg: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 0.0)
    answers(monkeypatch, *[(None, "")] * 5)
    with pytest.raises(ConfigError, match="nothing came back"):
        metadata.prove(cfg, "archive", TOPICS)


def test_another_service_of_the_group_may_have_deleted_it_meanwhile(
    cfg: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.0)
    answers(monkeypatch, (None, ""), (0, metadata.PROBE))
    metadata.prove(cfg, "archive", TOPICS)


def test_one_that_takes_no_such_note_is_refused_with_the_remedy(cfg: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise kafka.translate(kafka.KafkaError(kafka.KafkaError.OFFSET_METADATA_TOO_LARGE), "committing")

    monkeypatch.setattr(kafka, "commit", refuse)
    with pytest.raises(ConfigError, match=r"archive-probe.*offset\.metadata\.max\.bytes at 512"):
        metadata.prove(cfg, "archive", TOPICS)


@pytest.mark.parametrize("call", ["meet_group", "commit"])
def test_a_user_who_may_not_use_the_trials_group_is_let_on_with_a_warning(
    call: str, cfg: Kafka, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise kafka.translate(kafka.KafkaError(kafka.KafkaError.GROUP_AUTHORIZATION_FAILED), "committing")

    monkeypatch.setattr(kafka, call, refuse)
    with caplog.at_level("WARNING"):
        metadata.prove(cfg, "archive", TOPICS)
    assert "the first commit is the proof" in caplog.text


def test_what_ends_a_client_is_no_wrong_configuration(cfg: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise FatalError("Kafka, committing: fatal")

    monkeypatch.setattr(kafka, "commit", fail)
    with pytest.raises(FatalError, match="fatal"):
        metadata.prove(cfg, "archive", TOPICS)


def test_the_first_commit_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "commit", lambda *_: None)
    answers(monkeypatch, (1, ""), (1, "note"))
    commits = metadata.Commits(cast("kafka.Consumer", None))
    with pytest.raises(FatalError, match="this broker can't be used"):
        commits.commit("imu.raw", 0, 1, "note")
    commits.commit("imu.raw", 0, 1, "note")
    commits.commit("imu.raw", 0, 2, "another")


def test_the_service_waits_for_kafka_and_its_topics_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, tries = threading.Event(), []

    def prove(*_: Any) -> None:
        tries.append(health.is_ready()[1]["checks"])
        if len(tries) < 3:
            raise TransientError("Kafka has no topic imu.raw yet")

    monkeypatch.setattr(metadata, "prove", prove)
    monkeypatch.setattr(startup, "_FIRST_SECONDS", 0.01)
    with Health(Http(), ("kafka",)) as health:
        assert startup.await_kafka(Kafka(), "archive", TOPICS, health, stop)
        assert tries[1:] == [{"kafka": "Kafka has no topic imu.raw yet"}] * 2
        assert health.is_ready()[0]
        tries.clear()
        stop.set()
        assert not startup.await_kafka(Kafka(), "archive", TOPICS, health, stop)
        assert tries == []
