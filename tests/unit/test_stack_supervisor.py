import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigError
from headrace.stack import plan, process, runner
from headrace.stack.plan import Spec, Wishes
from headrace.stack.runner import Runner
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


def test_services_start_again_by_the_plan_of_now_while_the_servers_go_on(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    made = plan.make(state, Wishes(auto_ports=True))
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]

    def fine() -> None:
        pass

    def wrong() -> None:
        raise ConfigError("a contract is wrong")

    def workers(of: plan.StackPlan) -> list[Spec]:
        probe = wrong if "vibration" in of.config.streams else fine
        return [Spec("clean", lambda: argv, "", probe, needs=("kafka",), grace=0.1)]

    clean = Spec("clean", lambda: argv, "", fine, needs=("kafka",), grace=0.1)
    supervisor = Supervisor(made, [Spec("kafka", lambda: argv, "", fine, grace=0.1), clean], workers)
    stop, seen = threading.Event(), list[dict[str, Any]]()

    def tick() -> None:
        seen.append(supervisor.snapshot())
        if seen[-1]["state"] in {"ready", "degraded"} and len(pids) == seen[-1]["restarts"]:
            pids.append([s["pid"] for s in seen[-1]["services"].values()])
            names = ("imu", "vibration")[: len(pids)]
            (tmp_path / "my.yaml").write_text(
                "\n".join(["streams:", *(f"  {n}: {{routes: ['{{device_id}}/{n}']}}" for n in names)])
            )
            plan.keep(plan.again(state, Wishes(config=tmp_path / "my.yaml")))
            (stop if len(pids) == 3 else supervisor.again).set()

    pids = list[list[int]]()
    supervisor.run(stop, tick)
    (kafka, first), (same, second), (still, none) = pids
    assert kafka == same == still
    assert first != second
    assert none == 0
    assert next(s["services"]["clean"]["message"] for s in seen if s["restarts"] == 2) == "a contract is wrong"
    assert seen[-1]["streams_configured"][:2] == ["imu", "vibration"]


def test_a_service_whose_probe_never_answers_is_stopped_too(tmp_path: Path) -> None:
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


def test_a_probe_that_never_answers_is_said_and_a_service_that_hangs_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the clock goes back by an hour: the client that the probe uses waits for an hour."""
    monkeypatch.setattr(runner, "PATIENCE", 0.1)
    monkeypatch.setattr(runner, "CHECK", 0.1)
    monkeypatch.setattr(Runner, "_stalled", lambda _: True)
    never, hang = threading.Event(), threading.Event()

    def probe() -> None:
        if hang.is_set():
            never.wait()

    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    spec = Spec("clean", lambda: argv, "", probe, grace=0.1)
    state = State(tmp_path / "state")
    plan.make(state, Wishes(auto_ports=True))
    said: list[str] = []
    it = Runner(spec, state, {}, [], lambda: said.append(it.status.message))
    it.start()
    try:
        assert it.ready.wait(10)
        hang.set()
        until = time.monotonic() + 20
        while it.status.restarts == 0 and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        never.set()
        it.halt()
        it.join(10)
    assert any("no answer" in message for message in said)
    assert any("it stopped making progress" in message for message in said)
    assert not it.is_alive()


def test_a_probe_that_hung_is_put_again_and_the_service_is_ready_when_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client that waits for as long as the clock went back is left behind: a new one is answered at once."""
    monkeypatch.setattr(runner, "PATIENCE", 0.1)
    never, first = threading.Event(), threading.Event()

    def probe() -> None:
        if not first.is_set():
            first.set()
            never.wait()

    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    state = State(tmp_path / "state")
    plan.make(state, Wishes(auto_ports=True))
    it = Runner(Spec("kafka", lambda: argv, "", probe, grace=0.1), state, {}, [], lambda: None)
    it.start()
    try:
        assert it.ready.wait(10)
    finally:
        never.set()
        it.halt()
        it.join(10)
    assert not it.is_alive()


@pytest.mark.parametrize(("seconds", "words"), [(0.3, "ended with exit code 1"), (60, "wrong password")])
def test_what_another_server_on_the_port_says_is_not_taken_for_the_services_own_answer(
    seconds: float, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose port is taken ends soon, and its log says why; one that stays has refused us itself."""
    monkeypatch.setattr(runner, "REFUSED_SECONDS", 2.0)
    monkeypatch.setattr(runner, "ATTEMPTS", 1)

    def probe() -> None:
        raise ConfigError("wrong password")

    argv = [sys.executable, "-c", f"import sys, time; time.sleep({seconds}); sys.exit('port is taken')"]
    state = State(tmp_path / "state")
    plan.make(state, Wishes(auto_ports=True))
    it = Runner(Spec("kafka", lambda: argv, "", probe, grace=0.1), state, {}, [], lambda: None)
    it.start()
    it.join(20)
    assert words in str(it.failure)
    assert ("port is taken" in str(it.failure)) == (seconds < 1)
