import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from headrace.stack import plan, process
from headrace.stack import supervisor as module
from headrace.stack.plan import Spec, Wishes
from headrace.stack.state import State
from headrace.stack.supervisor import Supervisor


def test_what_is_shown_last_says_that_the_stack_is_stopped(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    supervisor = Supervisor(plan.make(state, Wishes(auto_ports=True)), [])
    stop = threading.Event()
    seen: list[dict[str, Any]] = []

    def tick() -> None:
        seen.append(supervisor.snapshot())
        stop.set()

    supervisor.run(stop, tick)
    assert [s["state"] for s in seen] == ["ready", "stopped"]
    assert state.read_json("stack.json")["state"] == "stopped"


def test_a_service_whose_probe_never_answers_is_stopped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK_SECONDS", 0.2)
    state, probed, never = State(tmp_path / "state"), threading.Event(), threading.Event()

    def probe() -> None:
        probed.set()
        never.wait()

    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    spec = Spec("kafka", lambda: argv, "", probe, grace=0.1)
    supervisor = Supervisor(plan.make(state, Wishes(auto_ports=True)), [spec])
    stop = threading.Event()
    started: list[process.Process] = []

    def tick() -> None:
        if probed.is_set():
            started.append(supervisor.runners["kafka"].status.process)
            stop.set()

    try:
        supervisor.run(stop, tick)
        assert process.wait_gone(started[:1], 5)
    finally:
        never.set()
