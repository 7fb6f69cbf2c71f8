"""What the services say of themselves while a fault lasts: /readyz, /livez, and the memory that they take."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import TransientError
from headrace.runtime import http
from tests.faults.world import SERVICES, World

NOTICE_SECONDS = 10.0
FILL_SECONDS = 20.0
FILLS = {"clean": 32_000_000}  # bytes of the look-backs of three partitions, which fill while readings come


@contextmanager
def noticed(world: World, *names: str, seconds: float = NOTICE_SECONDS) -> Iterator[None]:
    """Begins as a dependency goes: each of the services says so in /readyz within `seconds`, and stays live.

    AssertionError else, once the block has ended.
    """
    began, stop = time.monotonic(), threading.Event()
    since: dict[str, float] = {}
    dead: dict[str, str] = {}

    def look() -> None:
        while not stop.wait(0.2):
            for name in names:
                url = f"http://127.0.0.1:{world.service(name)['health_port']}"
                try:
                    if http.status_of(f"{url}/readyz", 1.0)[0] != 200:
                        since.setdefault(name, time.monotonic() - began)
                    if http.status_of(f"{url}/livez", 1.0)[0] != 200:
                        dead.setdefault(name, f"not live after {time.monotonic() - began:.0f} s")
                except TransientError as e:
                    dead.setdefault(name, str(e))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
    assert not dead, f"/livez says what only a restart would help: {dead}"
    late = {name: f"{since[name]:.1f} s" if name in since else "never" for name in names
            if since.get(name, seconds + 1) > seconds}  # fmt: skip
    assert not late, f"/readyz did not turn false within {seconds:.0f} s of the dependency's end: {late}"


def resident(pid: int) -> int:
    """Bytes of a process's memory that are in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@contextmanager
def flat_memory(world: World, *, growth: float = 0.10) -> Iterator[None]:
    """No service's memory grows by more than `growth` while the block lasts, its look-back apart; AssertionError else.

    Measured from some seconds after its beginning on: what is under way as an outage begins fills its buffers first.
    A block that is shorter is not measured, nor a service that another process has replaced meanwhile.
    """
    before: dict[str, tuple[int, int]] = {}

    def measure() -> None:
        before.update({name: (pid := world.pid(name), resident(pid)) for name in SERVICES})

    timer = threading.Timer(FILL_SECONDS, measure)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
    grown = {}
    for name, (pid, at_first) in before.items():
        if world.service(name)["pid"] == pid and resident(pid) > at_first * (1 + growth) + FILLS.get(name, 0):
            grown[name] = f"{at_first / 1e6:.0f} to {resident(pid) / 1e6:.0f} MB"
    assert not grown, f"memory grew by more than {growth:.0%}: {grown}"
