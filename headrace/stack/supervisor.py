"""Runs a planned stack: starts what can start, watches all of it, tells how it is, stops it in order."""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError
from headrace.stack import download, java, kafka, mosquitto, process, registry, store, workers
from headrace.stack.plan import Plan, Spec
from headrace.stack.process import MARK, Process
from headrace.stack.runner import Phase, Runner
from headrace.stack.scrape import Figures
from headrace.stack.state import State

log = logging.getLogger(__name__)
# What takes readings in stops first, what they rest on last.
STOP_ORDER = (("bridge",), ("clean",), ("archive",), ("mosquitto", "kafka", "registry", "store"))
LOG_BYTES = 16 << 20
LOOK_SECONDS = 2.0
# Variables that would change what a service does behind our back.
_FOREIGN = ("HEADRACE_", "AWS_", "WEED_", "QUARKUS_", "APICURIO_", "KAFKA_", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS")


def specs(plan: Plan) -> list[Spec]:
    """Every service of the stack; ConfigError when something it needs is not on this machine."""
    java_path, parts = java.find(), download.parts()
    broker = mosquitto.obtain(log.info)
    return [
        mosquitto.spec(plan, broker),
        kafka.spec(plan, java_path, parts["kafka"]),
        registry.spec(plan, java_path, parts["apicurio"]),
        store.spec(plan, store.find()),
        *workers.specs(plan),
    ]


class Supervisor:
    """One run of a stack, by whoever holds its state folder."""

    def __init__(self, plan: Plan, services: list[Spec]) -> None:
        self.plan = plan
        self._began = time.monotonic()
        self._started = time.time()
        self._ready_seconds = 0.0
        self._state, self._error = "starting", ""
        self._lock = threading.Lock()
        self._watched: set[int] = set()
        self._stop_looking = threading.Event()
        self.figures = Figures({s.name: s.health_port for s in services if s.health_port})
        env = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        env[MARK] = str(plan.state.path)
        self.runners: dict[str, Runner] = {}
        for spec in services:
            needs = [self.runners[n] for n in spec.needs]
            self.runners[spec.name] = Runner(spec, plan.state, env, needs, self._write)

    def run(self, stop: threading.Event, tick: Callable[[], None] = lambda: None) -> None:
        """Until `stop`: `tick` is called several times a second. Leaves no process behind, whatever happens.

        Raises what a service's first start failed with.
        """
        looking = threading.Thread(target=self._look, name="figures", daemon=True)
        try:
            for runner in self.runners.values():
                runner.start()
            looking.start()
            self._until_ready(stop, tick)
            while not stop.wait(0.2):
                tick()
        except HeadraceError as e:
            self._error = str(e)
            raise
        finally:
            self._shut_down(tick)
            self._stop_looking.set()

    def snapshot(self, *, live: bool = True) -> dict[str, Any]:
        """The stack as JSON: its state, services and streams. Without `live`, only what does not change by itself."""
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
                **(self.figures.services.get(name, {}) if live else {}),
            }
        out: dict[str, Any] = {
            "state": self._state if self._state != "ready" or self._all_ready() else "degraded",
            "error": self._error,
            "folder": str(self.plan.state.path),
            "config": str(self.plan.config_path or ""),
            "supervisor": {"pid": os.getpid(), "started": process.start_time(os.getpid())},
            "started": round(self._started, 3),
            "ready_seconds": round(self._ready_seconds, 2),
            "ports": self.plan.ports,
            "page": f"http://127.0.0.1:{self.plan.ports['page']}/",
            "listen": None if self.plan.listen is None else f"{self.plan.listen.address}:{self.plan.listen.port}",
            "streams_configured": list(self.plan.config.streams),
            "listen_tls": self.plan.listen is not None and self.plan.listen.cert is not None,
            "services": services,
        }
        if live:
            known = {name: {} for name in self.plan.config.streams}  # type: dict[str, dict[str, Any]]
            out["streams"] = {**known, **self.figures.streams}
            out["history"] = list(self.figures.history)
        return out

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

    def _shut_down(self, tick: Callable[[], None]) -> None:
        self._say("stopping")
        for names in STOP_ORDER:
            group = [self.runners[n] for n in names if n in self.runners and self.runners[n].ident is not None]
            for runner in group:
                runner.halt()
            while any(r.is_alive() for r in group):
                for runner in group:
                    runner.join(0.05)
                tick()
        store.tidy(self.plan.ports)
        self._say("failed" if self._error else "stopped")
        tick()  # so that what is shown last says so

    def _say(self, state: str) -> None:
        self._state = state
        self._write()

    def _write(self) -> None:
        with self._lock:
            self.plan.state.write_json("stack.json", self.snapshot(live=False))

    def _look(self) -> None:
        while not self._stop_looking.wait(LOOK_SECONDS):
            self.figures.look()
            for path in self.plan.state.logs.glob("*.log"):
                rotate(path)


def rotate(path: Path, most: int = LOG_BYTES) -> None:
    """Move a log that has grown past `most` bytes to `<name>.1`. Its writer appends, and so goes on at the start."""
    if path.stat().st_size > most:
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)


def leftovers(state: State) -> list[Process]:
    """What still runs of a stack whose supervisor is gone: as noted in stack.json, and by its mark."""
    noted = [Process(s["pid"], s["started"]) for s in state.read_json("stack.json").get("services", {}).values()]
    return sorted({p for p in noted if p.alive} | set(process.marked(state.path)))


def clear(state: State) -> int:
    """Stop what a killed supervisor has left, in order; returns how many processes. Call it with the state held."""
    found = leftovers(state)
    services = state.read_json("stack.json").get("services", {})
    by_pid = {s["pid"]: name for name, s in services.items()}
    for names in STOP_ORDER:
        process.stop([p for p in found if by_pid.get(p.pid) in names], 15.0)
    process.stop([p for p in found if p.alive], 5.0)
    store.tidy(state.read_json("stack.json").get("ports", {}))
    return len(found)
