"""Makes the caches with which Kafka and the registry start on half the CPU: once for each of their versions and Java's.

Java (25 or later) makes one at the end of a run. That takes longer than a stack may take to stop: so it is a run of its
own.
"""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import HeadraceError, TransientError
from headrace.stack import java, kafka, plan, ports, registry
from headrace.stack.download import Part
from headrace.stack.plan import DEFAULT_PORTS, Spec, Wishes
from headrace.stack.process import MARK, launch
from headrace.stack.state import State

MINIMUM = 25
READY_SECONDS, END_SECONDS = 120.0, 300.0
_POLL = 0.1


def make(state: Path, path: Path, parts: Mapping[str, Part], say: Callable[[str], None]) -> None:
    """Make the caches that are missing. Where one fails, its server starts without, and no cache is tried again.

    If this process is killed, `up` and `down` of the stack in `state` find the server that it has left.

    While another process makes them, this one does not wait for it.
    """
    missing = [name for name, part in parts.items() if not java.cache(path, part.folder).is_file()]
    if not missing or java.major(str(path)) < MINIMUM:
        return
    with (parts[missing[0]].folder.parent / ".aot.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        say(f"preparing quick starts of {' and '.join(missing)}, once: about half a minute on two free cores")
        with _ending(), tempfile.TemporaryDirectory(prefix="headrace-aot-") as folder:
            specs = _specs(Path(folder) / "stack", path, parts)
            for name in missing:
                target = java.cache(path, parts[name].folder)
                try:
                    _run(specs[name], target, Path(folder) / name, {MARK: str(state)})
                except (HeadraceError, OSError, subprocess.TimeoutExpired) as e:
                    target.touch()
                    say(f"{name} will start more slowly: {e}. To try again, remove {target}")


@contextmanager
def _ending() -> Iterator[None]:
    """SIGTERM ends this process by an exception meanwhile, so that it leaves nothing."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _specs(folder: Path, path: Path, parts: Mapping[str, Part]) -> dict[str, Spec]:
    """The servers as in a stack, in a folder that is thrown away, on ports that no stack asks for."""
    taken: set[int] = set()
    made = plan.make(State(folder), Wishes(ports={name: ports.free(taken) for name in DEFAULT_PORTS}))
    return {
        "kafka": kafka.spec(made, path, parts["kafka"]),
        "apicurio": registry.spec(made, path, parts["apicurio"]),
    }


def _run(spec: Spec, target: Path, scratch: Path, env: Mapping[str, str]) -> None:
    """Run a server until it has served, and have it write `target`, which appears as a whole."""
    scratch.mkdir()
    _remove(target, "*")  # a killed one's
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    spec.prepare()
    argv = spec.argv()
    server = None
    try:
        with (scratch / "log").open("wb") as output:
            server = launch([argv[0], f"-XX:AOTCacheOutput={partial}", *argv[1:]], env, scratch, output)
        _serve(spec, server)
        server.send_signal(signal.SIGTERM)
        server.wait(END_SECONDS)
        partial.replace(target)
    finally:
        if server is not None and server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        _remove(target, f"{os.getpid()}*")


def _remove(target: Path, of: str) -> None:
    for left in target.parent.glob(f".{target.name}.{of}"):
        left.unlink()


def _serve(spec: Spec, server: "subprocess.Popen[bytes]") -> None:
    """Wait until the server serves, and have it do its first work."""
    until = time.monotonic() + READY_SECONDS
    while True:
        try:
            spec.probe()
        except TransientError:
            if server.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(_POLL)
        else:
            spec.provide()
            return
