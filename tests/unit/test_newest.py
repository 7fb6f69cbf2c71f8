"""What a page gets of a stream's newest readings, and that nothing is read when no page is open."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Message

from headrace.config import Config
from headrace.errors import ConfigError, TransientError
from headrace.operate import newest
from headrace.operate.live import Record
from headrace.operate.newest import Newest
from tests.unit.toy_log import Log

CONFIG = Config.model_validate({"streams": {"imu": {}, "environment": {}}})


class Kafka:
    """Opens topics in memory. `away`: it does not answer."""

    def __init__(self) -> None:
        self.open_now: list[str] = []
        self.away = False

    @contextmanager
    def open(self, _: Config, topic: str) -> Iterator[Log]:
        """A topic with three records, of which the second can't be decoded."""
        if self.away:
            raise TransientError("Kafka is away")
        self.open_now.append(topic)
        log = Topic(1)
        log.add(0, 3)
        yield log
        self.open_now.remove(topic)


class Topic(Log):
    def record(self, m: Message) -> Record:
        offset = m.offset() or 0
        return super().record(m)._replace(reading={"device_id": f"d{offset}"} if offset != 1 else None)


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def readings(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Iterator[Newest]:
    monkeypatch.setattr(newest, "FRESH_SECONDS", 0.0)
    it = Newest(CONFIG, kafka.open)
    yield it
    it.close()
    assert kafka.open_now == []


def test_readings_come_oldest_first_without_what_can_not_be_decoded(readings: Newest) -> None:
    answer = readings.answer("imu")
    assert [r["device_id"] for r in answer["readings"]] == ["d0", "d2"]
    assert {"name": "ax", "unit": "m/s2", "numeric": True} in answer["fields"]


def test_a_stream_has_one_reader_and_keeps_it(kafka: Kafka, readings: Newest) -> None:
    for stream in ("imu", "imu", "environment", "imu"):
        readings.answer(stream)
    assert kafka.open_now == ["imu.clean", "environment.clean"]


def test_who_waits_for_a_slow_kafka_is_told_so(readings: Newest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "_TURN_SECONDS", 0.01)
    with readings._lock, pytest.raises(TransientError, match="slow"):
        readings.answer("imu")


def test_nothing_is_read_once_no_page_asks(kafka: Kafka, readings: Newest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "IDLE_SECONDS", 0.05)
    readings.answer("imu")
    until = time.monotonic() + 5
    while kafka.open_now and time.monotonic() < until:
        time.sleep(0.01)
    assert kafka.open_now == []
    assert len(readings.answer("imu")["readings"]) == 2, "the next page opens it again"


def test_after_an_outage_the_reader_is_opened_again(kafka: Kafka, readings: Newest) -> None:
    kafka.away = True
    with pytest.raises(TransientError):
        readings.answer("imu")
    kafka.away = False
    assert len(readings.answer("imu")["readings"]) == 2
    with pytest.raises(ConfigError, match="there are: imu, environment"):
        readings.answer("imo")
