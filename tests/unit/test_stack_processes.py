import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.errors import ConfigError, TransientError
from headrace.stack import ports, process, runner, supervisor
from headrace.stack.plan import Spec
from headrace.stack.process import NONE, Process
from headrace.stack.runner import Phase, Runner
from headrace.stack.state import State

SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)


@pytest.fixture
def state(tmp_path: Path) -> State:
    it = State(tmp_path / "state")
    it.create()
    return it


@pytest.fixture
def start(state: State, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Spec], Runner]]:
    monkeypatch.setattr(runner, "BACKOFF_FIRST", 0.01)
    started: list[Runner] = []

    def begin(spec: Spec) -> Runner:
        it = Runner(spec, state, {**os.environ, process.MARK: str(state.path)}, [], lambda: None)
        it.start()
        started.append(it)
        return it

    yield begin
    for it in started:
        it.halt()
    for it in started:
        it.join(10)
        assert not it.is_alive()


def spec(code: str, **more: object) -> Spec:
    made = Spec(name="it", argv=lambda: [sys.executable, "-c", code], address="", probe=lambda: None)
    return replace(made, **more)  # type: ignore[arg-type]


def eventually(check: Callable[[], object], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_process_is_itself_and_not_another_with_its_number() -> None:
    me = Process(os.getpid(), process.start_time(os.getpid()))
    assert me.alive
    assert not Process(me.pid, me.started + "0").alive
    assert not NONE.alive
    assert not process.signal_group(Process(me.pid, "another time"), signal.SIGKILL)


def test_a_service_is_ready_when_its_probe_says_so_and_is_provided_for_then(start: Callable[[Spec], Runner]) -> None:
    asked, provided = [], []

    def probe() -> None:
        asked.append(1)
        if len(asked) < 3:
            raise TransientError("not yet")

    it = start(spec(SLEEP, probe=probe, provide=lambda: provided.append(1)))
    assert it.ready.wait(10)
    assert it.status.phase is Phase.READY
    assert (len(asked), len(provided)) == (3, 1)


def test_a_crashed_service_comes_back_as_another_process(start: Callable[[Spec], Runner]) -> None:
    it = start(spec(SLEEP))
    assert it.ready.wait(10)
    first = it.status.process
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: it.status.phase is Phase.READY and it.status.process not in {first, NONE})
    assert it.status.restarts == 1
    assert not first.alive


def test_a_service_that_never_starts_fails_with_its_own_words(start: Callable[[Spec], Runner]) -> None:
    def away() -> None:
        raise TransientError("away")

    it = start(spec("import sys; sys.exit('no such thing')", probe=away))
    it.join(20)
    assert it.status.phase is Phase.FAILED
    assert it.status.restarts == runner.ATTEMPTS
    assert "no such thing" in str(it.failure)


def test_a_wrong_configuration_is_not_tried_twice(start: Callable[[Spec], Runner]) -> None:
    def away() -> None:
        raise TransientError("away")

    it = start(spec("import sys; sys.exit(2)", probe=away))
    it.join(10)
    assert isinstance(it.failure, ConfigError)
    assert it.status.restarts == 1


def test_a_service_deaf_to_sigterm_is_killed(start: Callable[[Spec], Runner], state: State) -> None:
    it = start(spec(STUBBORN, grace=0.2))
    log = state.log_file("it")
    eventually(lambda: log.is_file() and b"deaf" in log.read_bytes())
    was = it.status.process
    it.halt()
    it.join(5)
    assert not was.alive
    assert it.status.phase is Phase.STOPPED


def test_children_of_a_service_do_not_outlive_it(start: Callable[[Spec], Runner], state: State) -> None:
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); time.sleep(0.3); 1/0"
    it = start(spec(code, probe=lambda: None))
    eventually(lambda: it.status.restarts > 0)
    it.halt()
    it.join(5)
    eventually(lambda: process.marked(state.path) == [])  # SIGKILL is on its way when the runner ends


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_killed_supervisor_left_is_found_and_stopped_and_nothing_else(state: State) -> None:
    def child(**env: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", SLEEP], env={**os.environ, **env}, start_new_session=True)

    noted, unnoted = child(), child(**{process.MARK: str(state.path)})
    stranger = child(**{process.MARK: str(state.path) + "2"})
    try:
        services = {
            "kafka": {"pid": noted.pid, "started": process.start_time(noted.pid)},
            "bridge": {"pid": stranger.pid, "started": "its number was taken by another"},
        }
        state.write_json("stack.json", {"services": services})
        eventually(lambda: len(supervisor.leftovers(state)) == 2)
        noted_wait = [noted, unnoted]
        # They are this test's children, so zombies until waited for; those count as gone.
        assert supervisor.clear(state) == 2
        assert [p.wait(5) for p in noted_wait] == [-signal.SIGTERM, -signal.SIGTERM]
        assert stranger.poll() is None
    finally:
        for it in (noted, unnoted, stranger):
            it.kill()
            it.wait()


def test_a_port_in_use_is_seen_and_its_holder_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ports.in_use(port)
        assert f"(pid {os.getpid()})" in ports.holder(port)
    assert not ports.in_use(port)
    assert ports.holder(port) == ""


def test_free_ports_differ_and_stay_clear_of_outgoing_connections() -> None:
    taken: set[int] = set()
    got = [ports.free(taken) for _ in range(50)]
    assert len(set(got)) == 50
    assert all(ports.LOW <= p < ports.HIGH for p in got)


def test_a_system_broker_on_1883_is_recognised() -> None:
    assert "systemctl stop mosquitto" in ports.remedy("mqtt", "mosquitto (pid 5)")
    assert "systemctl" not in ports.remedy("kafka", "java (pid 5)")


def test_a_state_is_held_by_one(state: State) -> None:
    first = state.lock()
    assert first is not None
    assert state.locked
    assert state.lock() is None
    first.close()
    assert not state.locked


def test_a_log_that_grows_is_moved_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "it.log"
    with path.open("ab", buffering=0) as log:
        log.write(b"x" * 100)
        supervisor.rotate(path, most=50)
        log.write(b"y")
    assert path.read_bytes() == b"y"
    assert path.with_name("it.log.1").read_bytes() == b"x" * 100


def test_an_end_is_seen_at_once_however_long_it_is_until_the_next_probe(
    start: Callable[[Spec], Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CHECK", 60.0)
    it = start(spec(SLEEP, grace=60.0))
    assert it.ready.wait(10)
    first = it.status.process
    process.signal_group(first, signal.SIGKILL)
    eventually(lambda: it.status.process.pid not in {0, first.pid} and it.status.phase is Phase.READY)
    it.halt()
    it.join(10)
    assert not it.is_alive()


def test_who_waits_for_a_process_does_not_look_at_it_again_and_again(
    start: Callable[[Spec], Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = start(spec(SLEEP))
    assert it.ready.wait(10)
    looks: list[int] = []

    def look(pid: int, _: int) -> tuple[int, int]:
        looks.append(pid)
        return 0, 0

    monkeypatch.setattr(os, "waitpid", look)
    time.sleep(0.5)
    assert looks == []
    monkeypatch.undo()
