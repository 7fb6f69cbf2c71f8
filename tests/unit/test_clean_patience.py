"""What clean reads while it waits is handed out in order, and what came of an earlier assignment never."""

import threading
from typing import Any, cast

import pytest

from headrace import kafka
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.health import Health
from processors.clean import patience as module
from processors.clean.patience import Patience, Stopped


class Message:
    """A record, or the end of a partition's log."""

    def __init__(self, offset: int, *, end: bool = False, error: int = kafka.KafkaError._PARTITION_EOF) -> None:
        self._offset = offset
        self._error = kafka.KafkaError(error) if end else None

    def topic(self) -> str:
        return "imu.raw"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def error(self) -> kafka.KafkaError | None:
        return self._error


class Consumer:
    """Gives what it has, one message a poll."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.paused = False

    def consume(self, count: int, _seconds: float) -> list[Message]:
        out, self.messages = self.messages[:count], self.messages[count:]
        return out

    def poll(self, _seconds: float) -> Message | None:
        return self.messages.pop(0) if self.messages else None

    def assignment(self) -> list[Any]:
        return []

    def pause(self, _partitions: list[Any]) -> None:
        self.paused = True

    def resume(self, _partitions: list[Any]) -> None:
        self.paused = False


class Checks:
    """Readiness, by check."""

    def __init__(self) -> None:
        self.of: dict[str, bool] = {}

    def progress(self) -> None: ...

    def ready(self, check: str, ok: bool, _why: str = "") -> None:
        self.of[check] = ok


def patience(consumer: Consumer, checks: Checks | None = None, stop: threading.Event | None = None) -> Patience:
    return Patience(cast("kafka.Consumer", consumer), cast("Health", checks or Checks()), stop or threading.Event())


def test_the_end_of_a_log_is_told_after_what_came_before_it() -> None:
    it = patience(Consumer(Message(7), Message(9, end=True)))
    it.delivering(60.0)  # waiting for Kafka, it polls
    it.delivering(60.0)
    assert it.ends() == {}
    assert [m.offset() for m in it.consume(10, 0.0)] == [7]
    assert it.ends() == {("imu.raw", 0): 9}
    assert it.ends() == {}


def test_nothing_of_an_earlier_assignment_is_handed_out() -> None:
    it = patience(Consumer(Message(7), Message(9, end=True)))
    it.delivering(60.0)
    it.delivering(60.0)
    it.forget()
    assert it.consume(10, 0.0) == []
    assert it.ends() == {}


def test_a_check_is_true_again_once_nobody_waits_for_it() -> None:
    checks, consumer, wanted = Checks(), Consumer(), [True, False]
    it = patience(consumer, checks)

    def fail() -> None:
        raise TransientError("away")

    assert it.hold("kafka", "committing", fail, lambda: wanted.pop(0)) is None
    assert checks.of == {"kafka": True}
    assert not consumer.paused


def test_sigterm_ends_a_wait_at_once_where_nothing_is_in_hand() -> None:
    stop = threading.Event()
    it = patience(Consumer(), stop=stop)

    def fail() -> None:
        stop.set()
        raise TransientError("away")

    with pytest.raises(Stopped):
        it.hold("registry", "judging", fail)


@pytest.mark.parametrize("let_in", [False, True])
def test_a_refusal_ends_a_start_and_is_waited_out_later(let_in: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_DELAY", 0.0)
    checks, answers = Checks(), [ConfigError("refused"), ConfigError("refused"), None]
    it = patience(Consumer(), checks)
    it.let_in = let_in
    seen = []

    def look() -> str:
        seen.append(dict(checks.of))
        if (error := answers.pop(0)) is not None:
            raise error
        return "there"

    if not let_in:
        with pytest.raises(ConfigError, match="refused"):
            it.hold("kafka", "looking", look)
        return
    assert it.hold("kafka", "looking", look) == "there"
    assert seen == [{}, {"kafka": False}, {"kafka": False}]
    assert checks.of == {"kafka": True}


def test_what_no_wait_mends_ends_it_always() -> None:
    it = patience(Consumer())
    it.let_in = True

    def fail() -> None:
        raise FatalError("the topic is another one")

    with pytest.raises(FatalError):
        it.hold("kafka", "looking", fail)


def test_a_refusal_of_what_is_read_ends_a_start_and_shows_later() -> None:
    refusal = Message(0, end=True, error=kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED)
    checks = Checks()
    it = patience(Consumer(refusal, refusal), checks)
    with pytest.raises(ConfigError, match="TOPIC_AUTHORIZATION_FAILED"):
        it.consume(1, 0.0)
    it.let_in = True
    assert it.consume(1, 0.0) == []
    assert checks.of == {"kafka": False}
