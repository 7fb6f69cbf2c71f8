"""One decision whether to try again; and a wait that keeps the group, ends at SIGTERM, or ends with the partition."""

import itertools
import threading

import pytest

from headrace.errors import ConfigError, FatalError, TransientError
from headrace.runtime import backoff
from processors.group import hold as hold_module
from processors.group.hold import Hold, JobHold, PollHold, Stopped
from processors.group.member import Member
from processors.group.token import Revoked, Token
from tests.unit.toy_kafka import Checks, ToyConsumer, ToyKafka, offset

ONE = ("imu.raw", 0)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.0)


class Polling:
    """A member of a group that waits on the thread that polls."""

    def __init__(self) -> None:
        self.checks, self.stop = Checks(), threading.Event()
        cluster = ToyKafka()
        cluster.write("imu.raw", b"x")
        self.client = ToyConsumer(cluster)
        self.hold = Hold(self.checks)
        self.member = Member(self.client, refused=self.hold.refused)
        self.member.subscribe(["imu.raw"])
        self.client.give(ONE)
        self.member.serve(0.0)
        self.member.start(ONE, 0)
        self.wait = PollHold(self.hold, self.member, self.stop)


def away() -> None:
    raise TransientError("away")


def test_pauses_grow_to_ten_seconds_and_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.25)
    found = list(itertools.islice(backoff.pauses(), 12))
    assert all(0.125 * 2**n <= s <= 0.25 * 2**n for n, s in enumerate(found[:6]))
    assert all(5.0 <= s <= 10.0 for s in found[7:])


@pytest.mark.parametrize("admitted", [False, True])
def test_a_refusal_ends_a_start_and_is_waited_out_later(admitted: bool) -> None:
    it, answers = Polling(), [ConfigError("refused"), ConfigError("refused"), None]
    if admitted:
        it.wait.admit()
    seen = []

    def look() -> str:
        seen.append(dict(it.checks.of))
        if (error := answers.pop(0)) is not None:
            raise error
        return "there"

    if not admitted:
        with pytest.raises(ConfigError, match="refused"):
            it.wait.hold("kafka", "looking", look)
        return
    assert it.wait.hold("kafka", "looking", look) == "there"
    assert seen == [{}, {"kafka": False}, {"kafka": False}]
    assert it.checks.of == {"kafka": True}


def test_what_no_wait_mends_ends_it_always() -> None:
    it = Polling()
    it.wait.admit()

    def fail() -> None:
        raise FatalError("the topic is another one")

    with pytest.raises(FatalError):
        it.wait.hold("kafka", "looking", fail)


def test_partitions_stand_still_while_it_waits_and_go_on_after_it() -> None:
    it, calls = Polling(), iter(["away", "there"])

    def call() -> bool:
        if next(calls) == "away":
            raise TransientError("away")
        return bool(it.client.paused)

    assert it.wait.hold("kafka", "looking", call)
    assert not it.client.paused
    assert [offset(m) for m in it.member.read(9, 0.0)[ONE]] == [0]


def test_work_that_takes_long_polls_now_and_then_and_ends_at_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that does not poll for five minutes loses its partitions, and so does the next one."""
    it, seen = Polling(), []

    def work(until: float) -> list[bool]:
        for now in (0.0, 0.1, until):
            monkeypatch.setattr(hold_module, "monotonic", lambda now=now: now)
            it.wait.alive()
            seen.append(bool(it.client.paused))
        return seen

    monkeypatch.setattr(hold_module, "monotonic", lambda: 0.0)
    assert it.wait.hold("transform", "transforming", lambda: work(6.0)) == [False, False, True]
    assert not it.client.paused
    it.stop.set()
    with pytest.raises(Stopped):
        it.wait.hold("transform", "transforming", lambda: work(60.0))


def test_a_wait_ends_when_the_partition_goes_and_the_check_is_true_again() -> None:
    it = Polling()
    token = it.member.tokens[ONE]

    def commit() -> None:
        token.check()
        it.client.lose(ONE)
        raise TransientError("away")

    with pytest.raises(Revoked):
        it.wait.hold("kafka", "committing", commit)
    assert it.checks.of == {"kafka": True}


@pytest.mark.parametrize("working", [False, True])
def test_sigterm_ends_a_wait_at_once_if_nothing_is_in_hand(working: bool) -> None:
    it, calls = Polling(), iter(range(3))
    it.wait.working = working

    def fail() -> int:
        it.stop.set()
        if (n := next(calls)) == 2:
            return n
        raise TransientError("away")

    if working:
        assert it.wait.hold("registry", "judging", fail) == 2
        return
    with pytest.raises(Stopped):
        it.wait.hold("registry", "judging", fail)


def test_kafka_that_confirms_nothing_counts_as_away_until_it_has_confirmed_everything() -> None:
    it = Polling()
    it.wait.delivering(1.0)
    assert it.checks.of == {}
    it.wait.delivering(60.0)
    assert (it.checks.of, it.client.paused) == ({"kafka": False}, {ONE})
    it.wait.delivered()
    assert (it.checks.of, it.client.paused) == ({"kafka": True}, set())


def test_a_refusal_of_what_is_read_ends_a_start_and_shows_later() -> None:
    it = Polling()
    with pytest.raises(ConfigError, match="no"):
        it.hold.refused(ConfigError("no"))
    it.wait.admit()
    it.hold.refused(ConfigError("no"))
    assert it.checks.of == {"kafka": False}


def test_one_job_that_goes_on_does_not_speak_for_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 60.0)
    checks, token, waiting = Checks(), Token(), threading.Event()
    it = JobHold(Hold(checks, admitted=True), "progress")

    def fail() -> None:
        waiting.set()
        raise TransientError("away")

    def hold() -> None:
        with pytest.raises(Revoked):
            it.hold(token, "storing", fail)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert waiting.wait(10)
        while "progress" not in checks.of:
            pass
        it.hold(Token(), "decoding", lambda: None)
        assert checks.of == {"progress": False}
        assert checks.why == {"progress": "storing: away"}
    finally:
        token.void()
        thread.join()
    assert checks.of == {"progress": True}


def test_a_job_of_a_partition_that_went_is_not_begun() -> None:
    token = Token()
    token.void()
    with pytest.raises(Revoked):
        JobHold(Hold(Checks()), "progress").hold(token, "storing", away)
