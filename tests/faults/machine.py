"""Group 6: full disks, no file descriptors left, clocks that jump. They need stacks of their own: see settings.py."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.fault import Fault
from tests.faults.fleet import Shape
from tests.faults.settings import CLOCK_FILE, clocks, disks
from tests.faults.world import SERVICES, World

CHUNK = 1 << 20
GENTLE = Shape(rate=600)


def disk_full(server: str) -> Callable[[World], None]:
    """The file system under a server's data is filled to the last byte, and freed after half a minute."""

    def strike(world: World) -> None:
        ballast = world.state.data / server / "ballast"
        try:
            fill(ballast)
            world.sleep(20, 30)
            fill(ballast)  # what was given back meanwhile
            world.sleep(5)
        finally:
            ballast.unlink(missing_ok=True)
        world.sleep(1)
        world.wait_ready()

    return strike


def fill(path: Path) -> None:
    """Append to a file until the disk is full."""
    with path.open("ab", buffering=0) as out:
        size = CHUNK
        while size:
            try:
                if out.write(bytes(size)) < size:
                    size //= 2
            except OSError:
                size //= 2


@contextmanager
def no_descriptors(pid: int) -> Iterator[None]:
    """The process can't open anything more."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(list(Path(f"/proc/{pid}/fd").iterdir())), before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def descriptors(name: str, *, also_killed: str = "") -> Callable[[World], None]:
    """A service without descriptors for 20 s, while what it talks to is killed, so that it needs new ones."""

    def strike(world: World) -> None:
        pid = world.pid(name)
        with no_descriptors(pid):
            world.sleep(3)
            if also_killed:
                world.kill(also_killed)
            world.sleep(17)
        world.sleep(1)
        world.wait_ready()

    return strike


def clock(hours: int) -> Callable[[World], None]:
    """The clock of every process of the stack jumps, and back again."""

    def strike(world: World) -> None:
        path = world.state.path.parent / CLOCK_FILE
        for name in SERVICES:
            loaded = Path(f"/proc/{world.pid(name)}/maps").read_text()
            assert "libfaketime" in loaded, f"{name} runs without libfaketime: its clock would not jump"
        path.write_text(f"{hours * 3600:+d}\n")
        world.sleep(15, 20)
        path.write_text("+0\n")
        world.sleep(5)
        world.wait_ready()

    return strike


def no_prlimit() -> str:
    """Why descriptors can't be taken away here."""
    return "" if hasattr(resource, "prlimit") else "needs Linux"


FAULTS = [
    Fault("disk-full-kafka", 6, "disk full under Kafka", disk_full("kafka"), GENTLE, setting="disks", needs=disks),
    Fault("disk-full-s3", 6, "disk full under the S3 server", disk_full("store"), GENTLE, setting="disks", needs=disks),
    Fault(
        "disk-full-mosquitto", 6, "disk full under Mosquitto", disk_full("mosquitto"), GENTLE, setting="disks",
        needs=disks,
    ),
    Fault(
        "descriptors-bridge", 6, "no file descriptors left in the bridge, Kafka killed",
        descriptors("bridge", also_killed="kafka"), needs=no_prlimit,
    ),
    Fault(
        "descriptors-clean", 6, "no file descriptors left in clean, Kafka killed",
        descriptors("clean", also_killed="kafka"), needs=no_prlimit,
    ),
    Fault(
        "descriptors-archive", 6, "no file descriptors left in the archive, the S3 server killed",
        descriptors("archive", also_killed="store"), needs=no_prlimit,
    ),
    Fault("clock-forward", 6, "clocks jump an hour ahead, and back", clock(1), setting="clocks", needs=clocks),
    Fault("clock-back", 6, "clocks jump an hour back, and ahead again", clock(-1), setting="clocks", needs=clocks),
]  # fmt: skip
