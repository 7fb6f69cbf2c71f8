"""A redrive of letters of derive that is killed in the middle, and finished after the function was changed."""

from types import SimpleNamespace
from typing import Any

import pytest

from bridge.redrive.again import Outcome, Record
from bridge.redrive.sending import Item, Sender
from headrace import deadletters, kafka
from headrace.config import Config
from headrace.deadletters import KafkaSource, ReadLetter, Stage, journal
from headrace.deadletters.journal import RedriveNote
from headrace.errors import PoisonError, Reason
from headrace.kafka import partition
from headrace.protocol import wire

TOPIC = "made.raw"
CONFIG = Config.model_validate({"streams": {"made": {}}})
_SOURCE = KafkaSource("toy.clean", "A" * 22, 0, 0, 5)
_MADE = deadletters.letter(
    PoisonError(Reason.TRANSFORM, "failed"), b"reading", stage=Stage.DERIVE, stream="made", source=_SOURCE
)
LETTER = ReadLetter(_MADE.key, _MADE.value, dict(_MADE.headers), 0, 0, 1)


class Killed(BaseException):
    """kill -9."""


class Log:
    """Kafka: one raw topic of one partition, and the notes. It kills its producer after `lives` raw records."""

    def __init__(self) -> None:
        self.raw: list[dict[str, Any]] = []
        self.notes: list[ReadLetter] = []
        self.lives = 10**9

    def produce(self, topic: str, *, on_delivery: Any, **message: Any) -> None:
        if topic == TOPIC:
            if self.lives <= 0:
                raise Killed
            self.lives -= 1
            self.raw.append(message)
        else:
            at = len(self.notes)
            self.notes.append(ReadLetter(message["key"], message["value"], dict(message["headers"]), 0, at, at))
        on_delivery(None, SimpleNamespace(partition=lambda: 0, offset=lambda: len(self.raw) - 1))

    def flush(self, _: float) -> int:
        return 0

    def close(self) -> None:
        """Nothing is open."""

    def read(self, _client: object, _topic: str, _number: int, start: int) -> list[Any]:
        return [SimpleNamespace(value=lambda m=m: m["value"], headers=lambda m=m: m["headers"], offset=lambda i=i: i)
                for i, m in enumerate(self.raw) if i >= start]  # fmt: skip

    def redrive(self, *rows: bytes, lives: int = 10**9) -> str:
        """A process redrives the letter, of which the function makes `rows` now. Returns why it is unsure, if it is."""
        self.lives = lives
        known = journal.journal([LETTER, *self.notes])
        number = known.next_number(LETTER.key)
        assert number is not None
        item = Item(LETTER, number, Outcome(tuple(record(number, i, row) for i, row in enumerate(rows))))
        with Sender(CONFIG, [10_000], [n for n in known.notes.values() if not n.sent]) as sender:
            sender.find_sent()
            why = sender.unsure(item)
            if not why:
                sender.send([item])
        return why

    def values(self) -> list[bytes]:
        return [m["value"] for m in self.raw]

    def note(self) -> RedriveNote:
        return journal.journal([LETTER, *self.notes]).notes[LETTER.key]


def record(number: int, index: int, value: bytes) -> Record:
    event = journal.event_id(LETTER.key, number, "made", index)
    return Record(TOPIC, b"dev", value, [wire.Provenance(event).header(), journal.mark(LETTER.key, number)])


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    it = Log()
    monkeypatch.setattr(kafka, "producer", lambda *_, **__: it)
    monkeypatch.setattr(kafka, "describe", lambda *_: {TOPIC: SimpleNamespace(partitions=1)})
    monkeypatch.setattr(kafka, "watermarks", lambda *_: (0, len(it.raw)))
    monkeypatch.setattr(partition, "reader", lambda _: it)
    monkeypatch.setattr(partition, "read", it.read)
    return it


@pytest.mark.parametrize("lives", range(4))
def test_one_that_was_killed_is_finished_each_row_once(log: Log, lives: int) -> None:
    if lives < 3:
        with pytest.raises(Killed):
            log.redrive(b"1", b"2", b"3", lives=lives)
    assert not log.redrive(b"1", b"2", b"3")
    assert log.values() == [b"1", b"2", b"3"]
    assert log.note().sent


@pytest.mark.parametrize("now", [(b"4", b"5", b"6"), (), (b"1",), (b"1", b"5")])
def test_rows_of_two_functions_are_not_mixed(log: Log, now: tuple[bytes, ...]) -> None:
    with pytest.raises(Killed):
        log.redrive(b"1", b"2", b"3", lives=2)
    assert "set the function and the contract back" in log.redrive(*now)
    assert log.values() == [b"1", b"2"]
    assert not log.redrive(b"1", b"2", b"3")  # set back
    assert log.values() == [b"1", b"2", b"3"]


def test_another_function_may_finish_what_has_sent_nothing(log: Log) -> None:
    with pytest.raises(Killed):
        log.redrive(b"1", b"2", lives=0)
    assert not log.redrive(b"4")
    assert log.values() == [b"4"]


def test_one_that_was_to_become_nothing_and_becomes_rows_is_finished_after_another_kill(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Sender._send
    monkeypatch.setattr(Sender, "_send", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        log.redrive()  # the note says: it is begun, and goes to no topic
    monkeypatch.setattr(Sender, "_send", send)
    with pytest.raises(Killed):
        log.redrive(b"1", b"2", b"3", lives=2)
    assert not log.redrive(b"1", b"2", b"3")
    assert log.values() == [b"1", b"2", b"3"]
