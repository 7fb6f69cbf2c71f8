"""Runs a planned stack: starts what can start, watches all of it, reports how it is, stops it in order."""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError
from headrace.stack import certs, download, java, kafka, mosquitto, plan, process, registry, store, workers
from headrace.stack.plan import Spec, StackPlan
from headrace.stack.process import MARK, Process
from headrace.stack.runner import Phase, Runner
from headrace.stack.state import State

log = logging.getLogger(__name__)
# What takes readings in stops first, what stores them last.
STOP_ORDER = (
    ("bridge", "ingest", "agent"),
    ("hub",),
    ("clean", "derive"),  # what each makes, the other reads
    ("archive", "compact"),
    ("mosquitto", "kafka", "registry", "store"),
)
LOG_BYTES = 16 << 20
UPKEEP_SECONDS = 2.0
RENEW_SECONDS = 3600.0
# Variables of this shell that would change what a service does.
_FOREIGN = ("HEADRACE_", "AWS_", "WEED_", "QUARKUS_", "APICURIO_", "KAFKA_", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS")


def specs(made: StackPlan) -> list[Spec]:
    """Every service of the stack. ConfigError when something that it needs is not on this machine."""
    java_path, parts = java.find(), download.parts()
    broker = mosquitto.obtain(log.info)
    return [
        mosquitto.spec(made, broker),
        kafka.spec(made, java_path, parts["kafka"]),
        registry.spec(made, java_path, parts["apicurio"]),
        store.spec(made, store.find()),
        *workers.specs(made),
    ]


class Supervisor:
    """One run of a stack. The caller holds its state folder.

    When `again` is set, it starts the services anew, with the plan that is written then; `workers_of` says which.
    """

    def __init__(
        self,
        made: StackPlan,
        services: list[Spec],
        workers_of: Callable[[StackPlan], list[Spec]] = workers.specs,
    ) -> None:
        self.plan, self._workers_of = made, workers_of
        self.again, self._restarts = threading.Event(), 0
        self._began = time.monotonic()
        self._started = time.time()
        self._ready_seconds = 0.0
        self._state, self._error = "starting", ""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._env = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        self._env[MARK] = str(made.state.path)
        self.runners: dict[str, Runner] = {}
        for spec in services:
            self._add(spec)

    def run(self, stop: threading.Event, tick: Callable[[], None] = lambda: None) -> None:
        """Run until `stop`; `tick` is called several times a second. Leaves no process behind, whatever happens.

        When a service can't start for the first time, raises its error.
        """
        upkeep = threading.Thread(target=self._keep_up, name="upkeep", daemon=True)
        try:
            for runner in self.runners.values():
                runner.start()
            upkeep.start()
            self._until_ready(stop, tick)
            while not stop.wait(0.2):
                if self.again.is_set():
                    self.again.clear()
                    self._restart(stop, tick)
                tick()
        except HeadraceError as e:
            self._error = str(e)
            raise
        finally:
            self._shut_down(tick)
            self._ended.set()

    def snapshot(self) -> dict[str, Any]:
        """The stack as JSON: its state, and that of each service."""
        services = {}
        for name, runner in self.runners.items():
            status = runner.status
            services[name] = {
                "state": status.phase.value,
                "message": status.message,
                "address": runner.spec.address,
                "pid": status.process.pid,
                "started": status.process.started,
                "restarts": status.restarts,
                "since": round(status.since, 3),
                "start_seconds": round(status.start_seconds, 2),
                "health_port": runner.spec.health_port,
            }
        return {
            "state": self._state if self._state != "ready" or self._all_ready() else "degraded",
            "error": self._error,
            "folder": str(self.plan.state.path),
            "config": str(self.plan.config_path or ""),
            "supervisor": {"pid": os.getpid(), "started": process.start_time(os.getpid())},
            "started": round(self._started, 3),
            "ready_seconds": round(self._ready_seconds, 2),
            "restarts": self._restarts,
            "ports": self.plan.ports,
            "listen": None if self.plan.listen is None else f"{self.plan.listen.address}:{self.plan.listen.port}",
            "streams_configured": list(self.plan.config.streams),
            "listen_ca": str(self.plan.listen_ca or ""),
            "services": services,
        }

    def _all_ready(self) -> bool:
        return all(r.status.phase is Phase.READY for r in self.runners.values())

    def _until_ready(self, stop: threading.Event, tick: Callable[[], None]) -> None:
        while not stop.is_set():
            failed = [r for r in self.runners.values() if r.failure is not None]
            if failed:
                assert failed[0].failure is not None
                raise failed[0].failure
            if all(r.ready.is_set() for r in self.runners.values()):
                self._ready_seconds = time.monotonic() - self._began
                self._say("ready")
                return
            stop.wait(0.05)
            tick()

    def _add(self, spec: Spec) -> Runner:
        needs = [self.runners[n] for n in spec.needs]
        made = self.runners[spec.name] = Runner(spec, self.plan.state, self._env, needs, self._write)
        return made

    def _restart(self, stop: threading.Event, tick: Callable[[], None]) -> None:
        """Stop the services, and start them with the plan as it is written now. The stack goes on if one fails."""
        self._say("restarting")
        try:
            self.plan = plan.load_made(self.plan.state)
        except HeadraceError as e:
            log.error("not restarted", extra={"error": str(e)})  # noqa: TRY400 - its message says it all
        else:
            self._stop(STOP_ORDER[:-1], tick)
            new = [self._add(spec) for spec in self._workers_of(self.plan)]
            for runner in new:
                runner.start()
            while not stop.is_set() and not all(r.ready.is_set() or r.failure is not None for r in new):
                stop.wait(0.05)
                tick()
        self._restarts += 1
        self._say("ready")

    def _shut_down(self, tick: Callable[[], None]) -> None:
        self._say("stopping")
        self._stop(STOP_ORDER, tick)
        store.tidy(self.plan.ports)
        self._say("failed" if self._error else "stopped")
        tick()  # so that the last output says so

    def _stop(self, order: tuple[tuple[str, ...], ...], tick: Callable[[], None]) -> None:
        for names in order:
            group = [self.runners[n] for n in names if n in self.runners and self.runners[n].ident is not None]
            for runner in group:
                runner.halt()
            while any(r.is_alive() for r in group):
                for runner in group:
                    runner.join(0.05)
                tick()

    def _say(self, state: str) -> None:
        self._state = state
        self._write()

    def _write(self) -> None:
        with self._lock:
            self.plan.state.write_json("stack.json", self.snapshot())

    def _keep_up(self) -> None:
        renew_at = time.monotonic() + RENEW_SECONDS
        while not self._ended.wait(UPKEEP_SECONDS):
            if time.monotonic() > renew_at:
                renew_at = time.monotonic() + RENEW_SECONDS
                renew(self.plan)
            for path in self.plan.state.logs.glob("*.log"):
                rotate(path)


def renew(made: StackPlan) -> None:
    """Renew the certificates that are due, and have the servers take them: a stack may run for years."""
    try:
        done = certs.keep(made.state.certs, made.certified)
    except (HeadraceError, OSError) as e:
        log.error("certificates not renewed", extra={"error": str(e)})  # noqa: TRY400 - its message says it all
        return
    for words in done:
        log.info("certificate renewed", extra={"certificate": words})
    if done:
        certs.tell(made.state)


def rotate(path: Path, most: int = LOG_BYTES) -> None:
    """Move a log that is larger than `most` bytes to `<name>.1`. Its writer appends, so it continues in the emptied
    file.
    """
    if path.stat().st_size > most:
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)


def leftovers(state: State) -> list[Process]:
    """What still runs of a stack whose supervisor is gone: the processes in stack.json, and those with its mark."""
    noted = [Process(s["pid"], s["started"]) for s in state.read_json("stack.json").get("services", {}).values()]
    return sorted({p for p in noted if p.alive} | set(process.marked(state.path)))


def clear(state: State) -> int:
    """Stop what a killed supervisor has left, in order. Returns how many processes. The caller holds the state."""
    found = leftovers(state)
    services = state.read_json("stack.json").get("services", {})
    by_pid = {s["pid"]: name for name, s in services.items()}
    for names in STOP_ORDER:
        process.stop([p for p in found if by_pid.get(p.pid) in names], 15.0)
    process.stop([p for p in found if p.alive], 5.0)
    store.tidy(state.read_json("stack.json").get("ports", {}))
    return len(found)
