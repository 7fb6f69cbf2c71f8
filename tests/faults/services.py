"""Group 1: the bridge, clean and the archive killed, stopped and told to end, at load."""

import signal
from collections.abc import Callable, Iterator

from tests.faults.fault import Fault
from tests.faults.fleet import Shape
from tests.faults.world import SERVICES, World

WORDS = {"bridge": "the bridge", "clean": "clean", "archive": "the archive"}


def nothing(world: World) -> None:
    """What a run shows without any fault: the measure for the others."""
    world.sleep(8)


def killed(*names: str) -> Callable[[World], None]:
    """kill -9, at a random moment; all of them at once."""

    def strike(world: World) -> None:
        world.sleep(0, 3)
        pids = {name: world.pid(name) for name in names}
        world.kill(*names)
        for name, pid in pids.items():
            world.wait_restarted(name, pid)

    return strike


def killed_often(name: str, times: int = 5) -> Callable[[World], None]:
    """kill -9, each time that it has served for a moment."""

    def strike(world: World) -> None:
        for _ in range(times):
            killed(name)(world)

    return strike


def killed_again(name: str) -> Callable[[World], None]:
    """kill -9, and twice again while it recovers."""

    def strike(world: World) -> None:
        for _ in range(3):
            world.sleep(0, 1)
            pid = world.pid(name)
            world.kill(name)
            world.wait("another process", lambda pid=pid: world.pid(name) != pid, 60)  # type: ignore[misc]
            world.sleep(0.2, 2.5)
        world.wait_ready(name)

    return strike


def frozen(name: str) -> Callable[[World], None]:
    """SIGSTOP for 30 s, the supervisor too: the very same process goes on, not knowing how late it is."""

    def strike(world: World) -> None:
        with world.unsupervised(), world.stopped(name):
            world.sleep(30)
        world.sleep(1)
        world.wait_ready(name)

    return strike


def hung(name: str) -> Callable[[World], None]:
    """SIGSTOP: its supervisor finds that it makes no progress, kills it and starts another."""

    def strike(world: World) -> None:
        pid = world.signal(name, signal.SIGSTOP)
        world.wait_restarted(name, pid, 120)

    return strike


def ended(name: str) -> Callable[[World], None]:
    """SIGTERM, as at each update."""

    def strike(world: World) -> None:
        world.sleep(0, 3)
        pid = world.signal(name, signal.SIGTERM)
        world.wait_restarted(name, pid)

    return strike


def _faults() -> Iterator[Fault]:
    yield Fault("none", 0, "no fault: the measure for the others", nothing)
    for name in SERVICES:
        yield Fault(f"{name}-killed", 1, f"{WORDS[name]} killed (kill -9)", killed(name))
        yield Fault(
            f"{name}-killed-again", 1, f"{WORDS[name]} killed, and twice more as it recovers", killed_again(name)
        )
        yield Fault(f"{name}-frozen", 1, f"{WORDS[name]} stopped for 30 s, then resumed", frozen(name))
        yield Fault(f"{name}-hung", 1, f"{WORDS[name]} hung until its supervisor replaces it", hung(name), seeds=3)
        yield Fault(f"{name}-ended", 1, f"{WORDS[name]} told to end (SIGTERM)", ended(name))
    for pair in (("bridge", "clean"), ("clean", "archive"), ("bridge", "archive")):
        both = " and ".join(WORDS[n] for n in pair)
        yield Fault(f"{'-'.join(pair)}-killed", 1, f"{both} killed at once", killed(*pair))
    yield Fault("all-killed", 1, "all three killed at once", killed(*SERVICES))
    posted = Shape(rate=720.0, http=True, poison=0.02)
    says = "devices post over HTTP: ingest killed five times at load"
    yield Fault("http-ingest-killed", 1, says, killed_often("ingest"), shape=posted, unordered=True)


FAULTS = list(_faults())
