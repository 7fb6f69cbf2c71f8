from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest

from headrace.deadletters import ReadLetter, Stage
from headrace.errors import TransientError
from headrace.protocol.clean_note import CleanNote, Counts, encode
from headrace.protocol.wire import MQTT_TOPIC
from headrace.recordings import outcome
from headrace.recordings.outcome import Follower

TOPIC = "sensors/dev/imu"


def letter(stream: str, topic: str = TOPIC, stage: Stage = Stage.BRIDGE) -> ReadLetter:
    headers = {"stage": stage.encode(), "stream": stream.encode(), MQTT_TOPIC: topic.encode()}
    return ReadLetter(b"k" * 16, b"", headers, 0, 0, 0)


@dataclass
class Step:
    """What comes between two looks: readings written and cleaned in one partition, letters; or Kafka is away."""

    written: int = 0
    cleaned: int = 0
    rejected: int = 0  # by clean, of those cleaned
    letters: Sequence[ReadLetter] = ()
    away: bool = False


@dataclass
class Script:
    """A stream of two partitions with 10 readings in each. Every look at its ends goes one step further."""

    steps: list[Step]
    written: int = 10
    cleaned: int = 10
    counts: Counts = field(default_factory=lambda: Counts(kept=10))
    letters: list[ReadLetter] = field(default_factory=list)
    looks: int = 0

    def ends(self) -> Sequence[int]:
        self.looks += 1
        step = self.steps.pop(0) if self.looks > 1 and self.steps else Step()
        if step.away:
            raise TransientError("Kafka is away")
        self.written += step.written
        self.cleaned += step.cleaned
        self.counts = self.counts.plus(Counts(kept=step.cleaned - step.rejected, rejected=step.rejected))
        self.letters += step.letters
        return (10, self.written)

    def committed(self) -> Sequence[tuple[int, str]]:
        idle = encode(CleanNote("id", 0, counts=Counts(kept=10)))
        return [(10, idle), (self.cleaned, encode(CleanNote("id", 0, counts=self.counts)))]

    def new_letters(self) -> Iterable[ReadLetter]:
        out, self.letters = self.letters, []
        return out


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "_POLL_SECONDS", 0.001)


def follow(sent: int, *steps: Step, topics: Iterable[str] = (TOPIC,)) -> outcome.Outcome:
    return Follower("imu", Script([*steps])).wait_cleaned(sent, set(topics), patience=0.05)


def test_readings_that_are_written_and_cleaned_are_the_outcome() -> None:
    found = follow(5, Step(written=3), Step(written=2, cleaned=4, rejected=1), Step(cleaned=1))
    assert found == outcome.Outcome(True, 5, 0, Counts(kept=4, rejected=1))


def test_refusals_are_the_bridges_letters_for_this_stream() -> None:
    found = follow(5, Step(written=3, letters=[letter("imu")]), Step(cleaned=3, letters=[letter("imu")]))
    assert found == outcome.Outcome(True, 3, 2, Counts(kept=3))


@pytest.mark.parametrize(
    "foreign",
    [
        letter("environment"),
        letter("imu", stage=Stage.CLEAN),
        letter("imu", stage=Stage.ARCHIVE),
        letter("", "sensors/other/imu"),
    ],
)
def test_letters_of_others_are_no_refusals(foreign: ReadLetter) -> None:
    found = follow(5, Step(written=1, letters=[foreign] * 9), Step(cleaned=1), Step(written=4), Step(cleaned=4))
    assert found == outcome.Outcome(True, 5, 0, Counts(kept=5))


def test_a_message_that_no_route_took_is_refused_when_it_went_to_one_of_our_topics() -> None:
    assert follow(2, Step(letters=[letter(""), letter("")])) == outcome.Outcome(True, 0, 2, Counts())


def test_what_lay_in_the_stream_before_is_not_counted_and_need_not_be_cleaned_first() -> None:
    script = Script([Step(written=2), Step(cleaned=2)])
    script.letters = [letter("imu")] * 3
    assert Follower("imu", script).wait_cleaned(2, [TOPIC], patience=0.05).refused == 0


def test_it_gives_up_when_nothing_changes_and_says_how_far_it_came() -> None:
    found = follow(5, Step(written=3, cleaned=2))
    assert found == outcome.Outcome(False, 3, 0, Counts(kept=2))


def test_kafka_may_be_away_for_a_while() -> None:
    found = follow(2, Step(written=1), Step(away=True), Step(away=True), Step(written=1, cleaned=2))
    assert found == outcome.Outcome(True, 2, 0, Counts(kept=2))


def test_progress_is_what_is_dealt_with_so_far() -> None:
    told: list[int] = []
    script = Script([Step(written=2, letters=[letter("imu")]), Step(cleaned=1), Step(cleaned=1)])
    Follower("imu", script).wait_cleaned(3, [TOPIC], patience=0.05, progress=told.append)
    assert told == [1, 2, 3]
