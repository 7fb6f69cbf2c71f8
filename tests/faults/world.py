"""A running stack, and what a saboteur can do to it: signals, proxies, further processes, ballast on its disks."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import yaml

import headrace
from headrace.config import Config, load
from headrace.operate import provision
from headrace.stack.process import MARK, Process
from headrace.stack.state import State
from tests.faults.fleet import Fleet
from tests.faults.proxy import Proxy, proxy
from tests.postgres import Server

ROOT = Path(headrace.__file__).parent.parent
SERVICES = ("bridge", "clean", "archive")
READY_SECONDS = 120.0
START_SECONDS = 60.0


@dataclass
class World:
    """What a fault acts on. `fleet` publishes while it does; `dice` decides whatever the seed decides."""

    state: State
    s3: Proxy
    registry: Proxy
    dice: Random = field(default_factory=Random)
    fleet: Fleet | None = None
    postgres: Server | None = None  # hub's, where the setting has one
    extras: int = 0
    judges: list[Callable[[], list[str]]] = field(default_factory=list)  # asked what is wrong, once all is stored
    figures: dict[str, int] = field(default_factory=dict)  # that judges add to those of the run
    extra_log: Path = Path()  # of the latest further process

    @property
    def config(self) -> Config:
        """What the services are configured with: the S3 server and the registry through the proxies."""
        return load(self.state.config_file, {})

    def service(self, name: str) -> dict[str, Any]:
        """What stack.json says of a service."""
        found: dict[str, Any] = self.state.info()["services"][name]
        return found

    def pid(self, name: str) -> int:
        """The process of a service, or of the supervisor; waits while it is being restarted."""
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            info = self.state.info()
            pid = int(info["supervisor"]["pid"] if name == "supervisor" else info["services"][name]["pid"])
            if pid:
                return pid
            time.sleep(0.05)
        raise AssertionError(f"{name} does not run: {self.state.info()['services'].get(name)}")

    def signal(self, name: str, number: signal.Signals) -> int:
        """Signal a service; returns its pid."""
        pid = self.pid(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid

    def kill(self, *names: str) -> None:
        """kill -9, all at once."""
        for pid in [self.pid(name) for name in names]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextmanager
    def stopped(self, *names: str) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end to the same processes."""
        pids = [self.signal(name, signal.SIGSTOP) for name in names]
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextmanager
    def unsupervised(self) -> Iterator[None]:
        """Nobody restarts anything: the supervisor is stopped."""
        with self.stopped("supervisor"):
            yield

    def wait_ready(self, *names: str, seconds: float = READY_SECONDS) -> None:
        """Until the services (all of them by default) are ready; AssertionError with what is not.

        A service whose process is gone is not ready, whatever a supervisor that was stopped meanwhile wrote last.
        """
        until, bad = time.monotonic() + seconds, {"all": "unknown"}
        while time.monotonic() < until:
            services = self.state.info()["services"]
            bad = {n: why for n, s in services.items() if n in (names or services) and (why := _unready(s))}
            if not bad:
                return
            time.sleep(0.1)
        raise AssertionError(f"after {seconds:.0f} s still not ready: {bad}")

    def wait_restarted(self, name: str, before: int, seconds: float = READY_SECONDS) -> None:
        """Until another process than `before` serves."""
        until = time.monotonic() + seconds
        while self.service(name)["pid"] in {0, before}:
            assert time.monotonic() < until, f"{name} did not come back: {self.service(name)}"
            time.sleep(0.1)
        self.wait_ready(name, seconds=until - time.monotonic())

    @contextmanager
    def extra(
        self, module: str, *arguments: str, over: dict[str, Any] | None = None, env: dict[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A further process of a service, once it has begun; configured as the stack but for `over` and its port.

        `env`: further variables of its environment.
        """
        self.extras += 1
        path = self.state.path / "tmp" / f"extra-{self.extras}.yaml"
        data = yaml.safe_load(self.state.config_file.read_text())
        _lay(data, {name: {"http": {"port": 0}} for name in (*SERVICES, "derive", "compact")})
        _lay(data, over or {})
        self.state.write(path, yaml.safe_dump(data))
        self.extra_log = path.with_suffix(".log")
        with self.extra_log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments, "--config", str(path)],
                env={**os.environ, "PYTHONPATH": str(ROOT), MARK: str(self.state.path), **(env or {})},
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            until = time.monotonic() + START_SECONDS  # a slow machine may take longer than the fault is to last
            while not self.extra_log.stat().st_size and process.poll() is None and time.monotonic() < until:
                time.sleep(0.1)
            yield process
            said = self.extra_log.read_text(errors="replace")
            assert process.poll() != 2, f"the further {module} refused its configuration: {said[-500:]}"
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def wait_joined(self, seconds: float = READY_SECONDS) -> None:
        """Until the latest further process has partitions: before that nobody contends with it."""
        self.wait(
            "its partitions", lambda: "partitions assigned" in self.extra_log.read_text(errors="replace"), seconds
        )

    @contextmanager
    def configured(self, **over: dict[str, Any]) -> Iterator[None]:
        """headrace.yaml with other values in some sections; what is started meanwhile reads them."""
        original = self.state.config_file.read_text()
        data = yaml.safe_load(original)
        _lay(data, over)
        self.state.write(self.state.config_file, yaml.safe_dump(data, sort_keys=False))
        try:
            yield
        finally:
            self.state.write(self.state.config_file, original)

    def sleep(self, low: float, high: float | None = None) -> None:
        """For `low` seconds, or for as long as the dice say between the two."""
        time.sleep(low if high is None else self.dice.uniform(low, high))

    def wait(self, what: str, true: Callable[[], bool], seconds: float) -> None:
        """Until `true()`; AssertionError naming `what` when the time is up."""
        until = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < until, f"{what}: not within {seconds:.0f} s"
            time.sleep(0.05)


@contextmanager
def attached(path: Path, over: dict[str, Any] | None = None) -> Iterator[World]:
    """The stack in a state folder, its services restarted behind proxies, and as they were at the end.

    `over` goes over sections of its configuration; what that wants of topics and buckets is made first.
    """
    state = State(path)
    original = state.config_file.read_text()
    cfg = load(state.config_file, {})
    store_host, store_port = cfg.store.endpoint.rsplit(":", 1)
    registry_host, registry_port = cfg.registry.url.split("/")[2].rsplit(":", 1)
    with ExitStack() as cleanup:
        s3 = cleanup.enter_context(proxy(store_host, int(store_port)))
        registry = cleanup.enter_context(proxy(registry_host, int(registry_port)))
        world = World(state, s3, registry)
        # Compact goes through the proxy in its own faults alone: elsewhere what it stores would pass for the archive's.
        restarted = (*SERVICES, "derive", "hub", *(["compact"] if "compact" in (over or {}) else []))
        cleanup.callback(_restore, world, original, restarted)
        data = yaml.safe_load(original)
        url = cfg.registry.url.replace(f":{registry_port}/", f":{registry.port}/")
        _lay(data, {"store": {"endpoint": f"127.0.0.1:{s3.port}", "timeout_seconds": 10.0}, "registry": {"url": url}})
        _lay(data, {"hub": {"behaviour": {"quarantines_per_hour": 1000}}})  # one run would take them from the next
        _lay(data, over or {})
        state.write(state.config_file, yaml.safe_dump(data, sort_keys=False))
        if (over or {}).keys() & {"store", "kafka", "streams"}:
            provision.topics(world.config)
            provision.contracts(world.config)
            provision.bucket(world.config)
        _restart(world, *restarted)
        yield world


def _unready(service: dict[str, Any]) -> str:
    """Why a service, as stack.json has it, is not ready; empty when it is."""
    if service["state"] != "ready":
        return f"{service['state']} {service['message']}"
    return "" if Process(service["pid"], service["started"]).alive else f"its process {service['pid']} is gone"


def _lay(data: dict[str, Any], over: dict[str, Any]) -> None:
    """Put values over sections of a configuration, which has not those that are as by default."""
    for section, values in over.items():
        data[section] = {**data.get(section, {}), **values} if isinstance(values, dict) else values


def _restore(world: World, text: str, names: tuple[str, ...]) -> None:
    world.state.write(world.state.config_file, text)
    _restart(world, *names)


def _restart(world: World, *names: str) -> None:
    pids = {name: world.signal(name, signal.SIGTERM) for name in names}
    for name, pid in pids.items():
        world.wait_restarted(name, pid)
