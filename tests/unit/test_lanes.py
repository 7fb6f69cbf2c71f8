"""Which tests run at the same time in `make test`, and what is printed of them."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import lanes
from tests.lanes import ALONE, FREE, summary
from tests.stack import ROOT

TESTS = """
import pytest

@pytest.fixture
def stack(): ...

@pytest.fixture
def own(stack): ...

def test_function(): ...

def test_stack(own): ...

@pytest.mark.lane("streams")
def test_beside(own): ...
"""


CONFTEST = """
from tests import lanes
from tests.lanes import lane_of

def pytest_collection_modifyitems(items):
    print(*(f"{it.name}={lane_of(it)};" for it in items))
"""


def collected(folder: Path, tests: str) -> str:
    """What pytest prints as it collects a file of tests: NAME=LANE; of each."""
    (folder / "test_it.py").write_text(tests)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = lane(name): where it runs\n")
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", "-s"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_a_test_runs_in_one_lane_and_alone_where_it_may_disturb_others(tmp_path: Path) -> None:
    found = dict(re.findall(r"test_(\w+)=(\w+);", collected(tmp_path, TESTS)))
    assert found == {"function": FREE, "beside": "streams", "stack": ALONE}


def test_a_lane_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    tests = "import pytest\n@pytest.mark.lane('fast')\ndef test_it(): ...\n"
    assert "test_it: no lane fast, only alone, own-1, own-2" in collected(tmp_path, tests)


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("====== 97 passed, 5 skipped, 163 deselected in 1101.24s (0:18:21) ======", "97 passed, 5 skipped"),
        ("=== 2 failed, 38 passed, 1 warning, 3 errors in 0.50s ===", "2 failed, 38 passed, 1 warning, 3 errors"),
        ("====== 2233 deselected in 3.10s ======", "no tests"),
        ("====== no tests ran in 3.10s ======", "no tests ran"),
        ("6 passed, 2227 deselected in 75.01s (0:01:15)", "6 passed"),
        ("Traceback (most recent call last):", ""),
    ],
)
def test_a_lanes_result_is_what_pytest_says_of_the_tests_that_ran(printed: str, said: str) -> None:
    assert summary(f"collected 1 item\n\n{printed}\n") == said


def test_no_more_lanes_run_at_once_than_the_machine_has_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[lanes.Lane] = []

    def start(name: str, folder: Path, _args: list[str]) -> lanes.Lane:
        assert sum(it.process.poll() is None for it in begun) < 2
        log = folder / name
        log.touch()
        begun.append(lanes.Lane(name, subprocess.Popen([sys.executable, "-c", "pass"]), log, time.monotonic()))
        return begun[-1]

    monkeypatch.setattr(lanes, "_start", start)
    monkeypatch.setattr(lanes, "AT_ONCE", 2)
    done: list[lanes.Lane] = []
    lanes._run(done, tmp_path, [])
    assert [it.name for it in done] == list(lanes.LANES)
    assert all(it.took is not None for it in done)


class Unstable:
    """A stack that starts at the `good`th try."""

    def __init__(self, state: Path, good: int) -> None:
        self.state, self.good = state, good

    def up(self) -> None:
        self.state.mkdir(exist_ok=True)
        self.good -= 1
        if self.good > 0:
            pytest.fail("port 9092 is in use")


def test_all_lanes_have_the_stack_that_started_at_the_second_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = Unstable(tmp_path / "stack", 2)
    monkeypatch.setattr(lanes, "Stack", lambda _folder: it)
    for _ in range(2):
        with lanes.shared(tmp_path):
            assert it.good == 0
    assert (tmp_path / lanes.FAILED).read_text() == "port 9092 is in use\n"


def test_no_lane_goes_on_with_a_stack_that_did_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "Stack", lambda _folder: Unstable(tmp_path / "stack", 3))
    for _ in range(2):
        with pytest.raises(pytest.fail.Exception, match="port 9092 is in use"), lanes.shared(tmp_path):
            raise AssertionError("it went on")


@pytest.mark.parametrize(
    ("first", "again", "code"), [(0, None, 0), (5, None, 0), (1, None, 1), (1, 0, 0), (1, 1, 1), (2, None, 2)]
)
def test_a_lane_counts_as_its_second_try_where_it_had_one(
    tmp_path: Path, first: int, again: int | None, code: int
) -> None:
    process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({first})"])
    process.wait()
    assert lanes.Lane("free", process, tmp_path / "log", 0.0, again=again).code == code
