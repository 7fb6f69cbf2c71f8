"""Group 3: the archive stopped at each step of its protocol, and several archives that contend for partitions.

A batch is stored as: intent committed, a PUT for each file, a PUT for the ledger object, final commit.
"""

import signal
import threading
from collections.abc import Callable

from headrace.lake import layout
from tests.faults.fault import Fault
from tests.faults.proxy import CutError, Manners
from tests.faults.world import World

STEP_SECONDS = 60.0  # a batch of every partition is stored in much less
MOVED_SECONDS = 60.0  # the session time-out, and a rebalance


class Trap:
    """Called with the path of each PUT: at the n-th that `wanted` takes it does `act`, once, and cuts it."""

    def __init__(self, wanted: Callable[[str], bool], nth: int, act: Callable[[], object]) -> None:
        self.sprung = threading.Event()
        self._wanted, self._left, self._act = wanted, nth, act
        self._lock = threading.Lock()

    def __call__(self, path: str) -> None:
        with self._lock:
            if not self._wanted(path) or self.sprung.is_set():
                return
            self._left -= 1
            if self._left:
                return
            self._act()
            self.sprung.set()
        raise CutError


def is_ledger(path: str) -> bool:
    """Whether a request is for a ledger object."""
    return f"/{layout.LEDGER}/" in path


def is_data(path: str) -> bool:
    """Whether a request is for a file of rows."""
    return path.split("?", maxsplit=1)[0].endswith(".parquet")


def at_put(wanted: Callable[[str], bool], most: int = 1, *, after: bool = False) -> Callable[[World], None]:
    """The archive is killed at such a PUT (the dice say which, up to the `most`-th), before or after it."""

    def strike(world: World) -> None:
        pid = world.pid("archive")
        trap = Trap(wanted, world.dice.randint(1, most), lambda: world.kill("archive"))
        world.s3.manners = Manners(("PUT",), done=trap) if after else Manners(("PUT",), seen=trap)
        try:
            world.wait("the PUT to kill at", trap.sprung.is_set, STEP_SECONDS)
        finally:
            world.s3.manners = Manners()
        world.wait_restarted("archive", pid)

    return strike


def at_intent(world: World) -> None:
    """Killed as it waits for Kafka to take an intent: Kafka stands still when the next batches become due."""
    pid = world.pid("archive")
    with world.stopped("kafka"):
        world.sleep(11, 14)
        world.kill("archive")
    world.wait_restarted("archive", pid)


def at_final_commit(world: World) -> None:
    """Killed as it waits for Kafka to take the final commit: Kafka stands still from the ledger's PUT on."""
    pid = world.pid("archive")
    stopped: list[int] = []
    trap = Trap(is_ledger, 1, lambda: stopped.append(world.signal("kafka", signal.SIGSTOP)))

    def done(path: str) -> None:
        try:
            trap(path)
        except CutError:
            return  # the answer is to arrive: it is the commit that must not

    world.s3.manners = Manners(("PUT",), done=done)
    try:
        world.wait("the ledger's PUT", trap.sprung.is_set, STEP_SECONDS)
        world.sleep(0.5, 3)
        world.kill("archive")
    finally:
        world.s3.manners = Manners()
        if stopped:
            world.signal("kafka", signal.SIGCONT)
    world.wait_restarted("archive", pid)


def in_rebalance(world: World) -> None:
    """A second archive joins while the first one's PUTs hang; then the first is killed, and later the second leaves."""
    trap = Trap(is_data, 1, lambda: None)
    pid = world.pid("archive")
    world.s3.manners = Manners(("PUT",), seen=trap)
    world.wait("a PUT", trap.sprung.is_set, STEP_SECONDS)
    hanging = Manners(("PUT",), hang=True)
    with world.s3.behaving(hanging), world.extra("processors", "archive"):
        world.sleep(5, 8)
        world.kill("archive")
        world.sleep(0, 2)
        hanging.hang = False
        world.wait_restarted("archive", pid)
        world.sleep(5)


def zombie(world: World) -> None:
    """The archive is stopped in the middle of a PUT until its partitions have moved to another, then resumed."""
    trap = Trap(is_data, 1, lambda: None)
    with world.extra("processors", "archive"):
        world.wait_joined()
        world.s3.manners = Manners(("PUT",), seen=trap)
        try:
            world.wait("a PUT", trap.sprung.is_set, STEP_SECONDS)
        finally:
            world.s3.manners = Manners()
        with world.unsupervised(), world.stopped("archive"):
            world.sleep(MOVED_SECONDS)
        world.sleep(8)
    world.wait_ready()


def duel(world: World) -> None:
    """Two archives, each stopped in turn past its session time-out: partitions go to and fro between zombies."""
    with world.extra("processors", "archive") as second:
        world.wait_joined()
        with world.unsupervised():
            with world.stopped("archive"):
                world.sleep(MOVED_SECONDS)
            second.send_signal(signal.SIGSTOP)
            world.sleep(MOVED_SECONDS)
            second.send_signal(signal.SIGCONT)
        world.sleep(5)
    world.wait_ready()


def storm(world: World) -> None:
    """Twenty joins and leaves in five minutes, of archives and of cleans, some of them killed."""
    for n in range(10):
        module = ("archive", "clean")[n % 2]
        with world.extra("processors", module) as process:
            world.sleep(8, 22)
            if world.dice.random() < 0.5:
                process.kill()
        world.sleep(2, 12)
    world.wait_ready()


def new_settings(world: World) -> None:
    """Killed with intents open, and started again with a quarter of the batch size, other limits and compression."""
    pid = world.pid("archive")
    hanging = Manners(("PUT",), hang=True)
    small = {"max_records": 500, "max_bytes": 100_000, "compression_level": 9, "memory_bytes": 4_000_000}
    with world.s3.behaving(hanging):
        world.sleep(11, 14)
        with world.configured(archive=small):
            world.kill("archive")
            hanging.hang = False
            world.wait_restarted("archive", pid)
            world.sleep(8)
            pid = world.pid("archive")
    world.kill("archive")
    world.wait_restarted("archive", pid)


FAULTS = [
    Fault("archive-at-intent", 3, "the archive killed while an intent is being committed", at_intent),
    Fault("archive-after-intent", 3, "the archive killed after the intent, before the first PUT", at_put(is_data)),
    Fault("archive-after-put", 3, "the archive killed after the n-th PUT", at_put(is_data, 5, after=True)),
    Fault("archive-before-ledger", 3, "the archive killed before the ledger's PUT", at_put(is_ledger, 3)),
    Fault("archive-after-ledger", 3, "the archive killed after the ledger's PUT", at_put(is_ledger, 3, after=True)),
    Fault("archive-at-commit", 3, "the archive killed while the final commit is under way", at_final_commit),
    Fault("archive-in-rebalance", 3, "a second archive joins during uploads, the first is killed", in_rebalance),
    Fault("archive-new-settings", 3, "settings changed while an intent is open", new_settings),
    Fault("archive-zombie", 3, "the archive stopped in a PUT, resumed when its partitions have moved", zombie, seeds=3),
    Fault("archive-duel", 3, "two archives, each in turn a zombie", duel, seeds=3),
    Fault("rebalance-storm", 3, "20 joins and leaves of archive and clean in 5 minutes", storm, seeds=3),
]
