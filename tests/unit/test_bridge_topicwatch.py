"""The watch over Kafka's topics: what it says when Kafka goes and comes back, and when it ends the bridge."""

import asyncio
import logging
from collections.abc import Iterable

import pytest

from bridge import topicwatch
from bridge.topicwatch import TopicWatch
from headrace.config.model import Http
from headrace.errors import FatalError, TransientError
from headrace.runtime.health import Health


class Kafka:
    """Gives one answer after another; an exception is raised. Ends the watch after the last."""

    def __init__(self, *answers: dict[str, int] | Exception) -> None:
        self._answers = list(answers)

    def ask(self, topics: Iterable[str]) -> dict[str, int]:
        assert list(topics) == ["a.raw", "a.clean"]
        answer = self._answers.pop(0) if self._answers else FatalError("no more answers")
        if isinstance(answer, Exception):
            raise answer
        return answer


WELL = {"a.raw": 3, "a.clean": 3}


def watch(health: Health, *answers: dict[str, int] | Exception) -> str:
    """The words that the watch ends with."""
    watcher = TopicWatch({"a.raw": 3, "a.clean": 3}, health)
    with pytest.raises(FatalError) as raised:
        asyncio.run(watcher.run(Kafka(*answers).ask))
    return str(raised.value)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topicwatch, "_SECONDS", 0)


def test_a_kafka_that_goes_and_comes_back_is_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    away = TransientError("no broker")
    with Health(Http(), ("kafka",)) as health:
        assert watch(health, WELL, away, away, WELL, WELL) == "no more answers"
        assert health.is_ready()[0]
    assert [r.message for r in caplog.records] == [
        "Kafka is away: nothing is acknowledged until it is back",
        "Kafka is back",
    ]


def test_while_kafka_is_away_or_lacks_a_topic_the_bridge_is_not_ready() -> None:
    with Health(Http(), ("kafka",)) as health:
        watch(health, WELL, TransientError("no broker"))
        assert health.is_ready() == (False, {"checks": {"kafka": "no broker"}})
        watch(health, WELL, {"a.raw": 3})
        assert health.is_ready() == (False, {"checks": {"kafka": "Kafka does not list the topic a.clean"}})


def test_another_number_of_partitions_ends_the_bridge() -> None:
    with Health(Http(), ("kafka",)) as health:
        assert watch(health, WELL, {**WELL, "a.raw": 4}) == "topic a.raw has 4 partitions now, and had 3"
