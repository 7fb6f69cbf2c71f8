"""One service of the stack on a thread of its own: started, probed, watched, restarted, stopped."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from headrace.errors import ConfigError, HeadraceError
from headrace.runtime import http
from headrace.stack.plan import HOST, Spec
from headrace.stack.process import NONE, Process, launch, signal_group, start_time
from headrace.stack.question import Question
from headrace.stack.state import State

POLL = 0.1  # between probes of one that starts
CHECK = 5.0  # between probes of one that serves
PATIENCE = 15.0  # with a probe; librdkafka may hang for as long as the clock was set back
UNANSWERED = 5  # probes at most that may stay without an answer; then wait for the last one
START_SECONDS = 120.0
ATTEMPTS = 3  # to become ready for the first time
BACKOFF_FIRST, BACKOFF_MOST = 0.5, 30.0
LOG_LINES = 8  # of the end of a log, shown when a service does not start
REFUSED_SECONDS = 15.0  # for a process to end whose port another server holds: that one refuses us meanwhile
STEADY = 10.0  # seconds of service after which a crash counts as the first one again


class Phase(StrEnum):
    """What a service is doing."""

    WAITING = "waiting"  # waits for what it needs
    STARTING = "starting"
    READY = "ready"
    UNREADY = "not ready"  # it runs, but its probe says that it can't do its job now
    CRASHED = "crashed"  # will be restarted
    FAILED = "failed"  # it never got ready
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass
class Status:
    """What to show of a service."""

    phase: Phase = Phase.WAITING
    message: str = ""
    process: Process = NONE
    restarts: int = 0
    since: float = 0.0  # Unix time of the phase
    start_seconds: float = 0.0  # from start to ready, the last time


class Runner(threading.Thread):
    """Runs `spec` until `halt`. `changed` is called after each change of `status`, from this thread."""

    def __init__(
        self, spec: Spec, state: State, env: Mapping[str, str], needs: list["Runner"], changed: Callable[[], None]
    ) -> None:
        super().__init__(name=spec.name, daemon=True)
        self.spec = spec
        self.status = Status(since=time.time())
        self.ready = threading.Event()  # has been ready once since its last start
        self.failure: HeadraceError | None = None  # why it never got ready
        self._state, self._needs, self._changed = state, needs, changed
        self._env = {**env, **spec.env}
        self._halt = threading.Event()
        self._ended = threading.Event()  # the process has
        self._wake = threading.Event()  # one of the two has just been set
        self._was_ready = False
        self._unanswered: list[Question] = []

    def halt(self) -> None:
        """Begin to stop: SIGTERM now, SIGKILL after the grace time. `join` waits for the end."""
        self._halt.set()
        self._wake.set()

    def run(self) -> None:
        """The whole life of the service."""
        try:
            while self._wait_for_needs():
                self._once()
        except HeadraceError as e:
            self._fail(e)
        except Exception as e:  # noqa: BLE001 - a runner that dies silently would leave its service unwatched
            self._fail(ConfigError(f"{self.spec.name}: {type(e).__name__}: {e}"))
        if self.status.phase is not Phase.FAILED:
            self._set(Phase.STOPPED)

    def _wait_for_needs(self) -> bool:
        """Wait until all that it needs serves. False when told to stop first."""
        for other in self._needs:
            while not other.ready.wait(0.05):
                if self._halt.is_set():
                    return False
                self._set(Phase.WAITING, f"for {other.spec.name}")
        return not self._halt.is_set()

    def _once(self) -> None:
        """From one start of the process to its end, and the pause after a crash."""
        self.spec.prepare()
        began = time.monotonic()
        with self._state.log_file(self.spec.name).open("ab") as output:
            process = launch(self.spec.argv(), self._env, self._state.tmp, output)
        self.status.process = Process(process.pid, start_time(process.pid))
        self._ended = ended = threading.Event()
        threading.Thread(target=self._await_end, args=(process, ended), name="end", daemon=True).start()
        self._unanswered = []
        self._set(Phase.STARTING)
        try:
            why = self._watch(began)
        finally:
            self._end(process)
        if self._halt.is_set():
            return
        self.ready.clear()
        served = self.status.phase in {Phase.READY, Phase.UNREADY} and time.time() - self.status.since > STEADY
        self.status.restarts = 1 if served else self.status.restarts + 1
        why = why or f"ended with {_ended(process.returncode)}"
        if not self._was_ready and (process.returncode == 2 or self.status.restarts >= ATTEMPTS):
            kind = ConfigError if process.returncode == 2 else HeadraceError
            raise kind(f"{self.spec.name} does not start: {why}\n{self._log_tail()}")
        pause = min(BACKOFF_FIRST * 2 ** (self.status.restarts - 1), BACKOFF_MOST)
        self._set(Phase.CRASHED, f"{why}; restart in {pause:g} s")
        self._halt.wait(pause)

    def _await_end(self, process: subprocess.Popen[bytes], ended: threading.Event) -> None:
        """On a thread of its own: Python waits for a process with a time-out by looking again and again."""
        process.wait()
        ended.set()
        self._wake.set()

    def _watch(self, began: float) -> str:
        """Watch until the process ends or must end. Returns why it must be ended; empty when it ended by itself."""
        stalls, check_at = 0, 0.0
        while not self._halt.is_set():
            if self._ends(max(POLL, check_at - time.monotonic())):
                return ""
            try:
                problem = self._problem()
            except ConfigError:
                if self._ends(REFUSED_SECONDS):
                    return ""  # it was another server's answer; why ours ended stands in its log
                raise
            if not problem and not self.ready.is_set():
                self.status.start_seconds = time.monotonic() - began
                self._was_ready = True
                self._set(Phase.READY)
                self.ready.set()
            elif not self.ready.is_set():
                if time.monotonic() - began > START_SECONDS:
                    return f"not ready after {START_SECONDS:.0f} s: {problem}"
                self._set(Phase.STARTING, problem)
            else:
                self._set(Phase.UNREADY if problem else Phase.READY, problem)
                stalls = stalls + 1 if self._stalled() else 0
                if stalls == 3:
                    return "it stopped making progress"
            check_at = time.monotonic() + (CHECK if self.ready.is_set() else 0.0)
        return ""

    def _ends(self, seconds: float) -> bool:
        """Whether the process ends in so many seconds, or we are told to stop. Waits without looking."""
        until = time.monotonic() + seconds
        while not self._halt.is_set() and not self._ended.is_set():
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._wake.wait(left)
            self._wake.clear()  # whoever sets it has set one of the others first
        return True

    def _problem(self) -> str:
        """Why the service does not serve; empty when it does. ConfigError when it never will."""
        full = len(self._unanswered) == UNANSWERED
        asked = self._unanswered[-1] if full else Question(self._ask)
        if not asked.answered(PATIENCE, self._halt):
            if not full:
                self._unanswered.append(asked)
            return f"its probe has had no answer for {self._unanswered[0].age:.0f} s"
        self._unanswered = []
        if asked.error is None:
            return ""
        if not isinstance(asked.error, HeadraceError) or (isinstance(asked.error, ConfigError) and not self._was_ready):
            raise asked.error
        return str(asked.error)

    def _ask(self) -> None:
        self.spec.probe()
        if not self.ready.is_set():
            self.spec.provide()

    def _stalled(self) -> bool:
        if not self.spec.health_port:
            return False
        try:
            return http.status_of(f"http://{HOST}:{self.spec.health_port}/livez")[0] != 200
        except HeadraceError:
            return True

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the process and all others of its group."""
        if not self._ended.is_set():
            self._set(Phase.STOPPING)
            signal_group(self.status.process, signal.SIGTERM)
            if not self._ended.wait(self.spec.grace):
                signal_group(self.status.process, signal.SIGKILL)
                self._ended.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # children that outlived their parent
        self.status.process = NONE

    def _fail(self, error: HeadraceError) -> None:
        self.failure = error
        self._set(Phase.FAILED, str(error))

    def _set(self, phase: Phase, message: str = "") -> None:
        if (phase, message) == (self.status.phase, self.status.message) and phase is not Phase.STARTING:
            return
        if phase is not self.status.phase:
            self.status.since = time.time()
        self.status.phase, self.status.message = phase, message
        self._changed()

    def _log_tail(self) -> str:
        path = self._state.log_file(self.spec.name)
        try:
            tail = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        except OSError:
            return ""
        return "\n".join([f"the end of {path}:", *(f"  {line[:300]}" for line in tail)])


def _ended(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
