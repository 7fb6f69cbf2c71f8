"""The oracle of compaction must itself fail: answers that fall, that hold a row twice, or that do not come."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.errors import TransientError
from tests.faults import compacted, small
from tests.faults.small import Poll

Answer = tuple[int, int] | Exception


def polled(*answers: Answer) -> Poll:
    left = list(answers)

    def ask() -> tuple[int, int]:
        it = left.pop(0)
        if isinstance(it, Exception):
            raise it
        return it

    poll = Poll(ask)
    for _ in answers:
        poll.once()
    return poll


RISING: list[Answer] = [(0, 0), (5, 5), (5, 5), (9, 9), (9, 9), (12, 12)]


def judged(monkeypatch: pytest.MonkeyPatch, poll: Poll, files: tuple[int, int, int] = (90, 20, 60), **more: Any) -> Any:
    world: Any = SimpleNamespace(figures={})
    polling: Any = SimpleNamespace(polls=[poll], end=lambda: None)
    monkeypatch.setattr(small, "direct", lambda _: None)
    monkeypatch.setattr(small, "files", lambda _: files)
    monkeypatch.setattr(small, "verified", lambda _: more.get("verify", []))
    found = small.judge(world, polling, steady=more.get("steady", True))
    assert world.figures["compact_polls"] == poll.answers
    return found


def test_answers_that_rise_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(monkeypatch, polled(*RISING)) == []


WRONG: list[tuple[str, Callable[[], list[Answer]]]] = [
    ("fell: from 12 rows to 11", lambda: [*RISING, (11, 11)]),
    ("rows twice: 14 rows at 12 positions", lambda: [*RISING, (14, 12)]),
    ("1 questions without an answer: ['a file is gone']", lambda: [*RISING, TransientError("a file is gone")]),
    ("fewer than 5 times", lambda: RISING[:3]),
]


@pytest.mark.parametrize(("said", "answers"), WRONG, ids=[w[0] for w in WRONG])
def test_those_that_are_wrong_fail(
    said: str, answers: Callable[[], list[Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = judged(monkeypatch, polled(*answers()))
    assert said in found


def test_where_the_store_is_killed_a_question_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(monkeypatch, polled(*RISING, TransientError("away"), (13, 13)), steady=False) == []


def test_a_run_without_a_merge_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = judged(monkeypatch, polled(*RISING), files=(90, 90, 0))
    assert "nothing was merged" in found


def test_what_verify_says_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(monkeypatch, polled(*RISING), verify=["headrace verify ends with 1"]) == [
        "headrace verify ends with 1"
    ]


DATE = "headrace/imu/date=2026-11-28"
KEYS = {
    f"/{DATE}/imu.clean-AbC-p0-o{7:020d}-s3.parquet": compacted.is_stored,
    f"/{DATE}/imu.clean-AbC-p0-c{7:020d}-{90:020d}-s3-n{1:010d}-{1_790_000_000}0123456789ab.parquet?x=1": (
        compacted.is_merged
    ),
    f"/headrace/_compacted/imu.clean/AbC/p0/{3:010d}.json": compacted.is_state,
    f"/headrace/_ledger/imu.clean/AbC/p0/{7:020d}.json": None,
    f"/{DATE.replace('imu', 'vibration')}/vibration.clean-AbC-p0-o{7:020d}-s3.parquet": None,
}


@pytest.mark.parametrize("path", KEYS, ids=range(len(KEYS)))
def test_the_steps_are_told_apart(path: str) -> None:
    found = [is_it for is_it in (compacted.is_stored, compacted.is_merged, compacted.is_state) if is_it(path)]
    assert found == [it for it in (KEYS[path],) if it is not None]
