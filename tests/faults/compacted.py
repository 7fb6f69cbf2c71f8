"""Group 9: compaction, killed at each of its steps, twice at once, stopped, without store or disk, beside zombies.

All the while a question is asked of the lake, whose answer may neither fall nor hold a row twice: small.py.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from urllib.parse import unquote

from headrace.lake import layout, manifest
from headrace.store.open import open_store
from tests.faults import small
from tests.faults.evidence import CLEAN
from tests.faults.fault import Fault
from tests.faults.fleet import Shape
from tests.faults.machine import fill
from tests.faults.protocol import Trap
from tests.faults.proxy import Manners
from tests.faults.settings import disks, small_disk
from tests.faults.world import World

GENTLE = Shape(rate=600)
FAILED = "a round failed, and the next one does what it left"  # as the service says
SPARE = 12 << 10  # bytes: Python takes another temporary folder where not even its probe has room
STEP_SECONDS = 120.0  # until a step comes: files have to come together first, and replaced ones to grow old
TOUCHED = tuple(
    f"{n}.py" for n in ("tests/faults/small", "tests/faults/compacted", "headrace/lake/sql", "headrace/lake/views")
)


def key_of(path: str) -> str:
    """The key of the object that a request is for."""
    return unquote(path.partition("?")[0]).lstrip("/").partition("/")[2]


def is_stored(path: str) -> bool:
    """Whether it is a file of the archive, of the stream of these faults."""
    return layout.parse_data_key(key_of(path), CLEAN) is not None


def is_merged(path: str) -> bool:
    """Whether it is a file of a merge."""
    return layout.parse_merged_key(key_of(path), CLEAN) is not None


def is_state(path: str) -> bool:
    """Whether it is a state of a manifest, by which a merge begins to count."""
    return layout.parse_state_key(key_of(path)) is not None


STEPS: list[tuple[str, Callable[[str], bool]]] = [("PUT", is_merged), ("PUT", is_state), ("DELETE", is_stored)]


def judged(act: Callable[[World], None], *, steady: bool = True, threads: int = 1) -> Callable[[World], None]:
    """`act`, while the question is asked; afterwards the answers, `verify` and the files are looked at."""

    def strike(world: World) -> None:
        polling = small.Polling(small.direct(world), threads)
        world.judges.append(partial(small.judge, world, polling, steady=steady))
        polling.start()
        act(world)
        world.sleep(2 * small.GRACE_SECONDS / 3)

    return strike


def both(world: World, number: signal.Signals) -> None:
    """Signal compact, and the process in which it makes a round."""
    with suppress(ProcessLookupError):
        os.killpg(world.pid("compact"), number)


@contextmanager
def halted(world: World) -> Iterator[None]:
    """Compact and its round stand still, and nobody starts them anew."""
    with world.unsupervised():
        both(world, signal.SIGSTOP)
        try:
            yield
        finally:
            both(world, signal.SIGCONT)


@contextmanager
def mannered(world: World, manners: Manners) -> Iterator[None]:
    """Such manners of the S3 server for as long as the block lasts."""
    world.s3.manners = manners
    try:
        yield
    finally:
        world.s3.manners = Manners()


def at_each_step(world: World) -> None:
    """Killed before and after each kind of request that changes the lake, in an order that the dice decide."""
    moments = [(method, wanted, after) for method, wanted in STEPS for after in (False, True)]
    world.dice.shuffle(moments)
    for method, wanted, after in moments:
        pid = world.pid("compact")
        trap = Trap(wanted, world.dice.randint(1, 2), lambda: both(world, signal.SIGKILL))
        with mannered(world, Manners((method,), done=trap) if after else Manners((method,), seen=trap)):
            world.wait(f"the {method} to kill at", trap.sprung.is_set, STEP_SECONDS)
        world.wait_restarted("compact", pid)


def said(world: World, word: str) -> bool:
    """Whether the latest further process has logged it."""
    return f'"{word}"' in world.extra_log.read_text(errors="replace")


def twice(world: World) -> None:
    """Two compactors at once, and a third for a while."""
    with world.extra("processors", "compact", over={"compact": {"every_seconds": 1.0}}):
        world.wait("a merge of the second compactor", lambda: said(world, "compacted"), STEP_SECONDS)
        with world.extra("processors", "compact", over={"compact": {"every_seconds": 1.0}}):
            world.sleep(15, 25)
        world.sleep(0, 10)


class Held:
    """Called with the path of each PUT: the first that `wanted` takes waits here until it is let go."""

    def __init__(self, wanted: Callable[[str], bool], act: Callable[[], object]) -> None:
        self.key = ""
        self.there, self.go = threading.Event(), threading.Event()
        self._wanted, self._act, self._lock = wanted, act, threading.Lock()

    def __call__(self, path: str) -> None:
        with self._lock:
            if self.key or not self._wanted(path):
                return
            self.key = key_of(path)
            self._act()
        self.there.set()
        self.go.wait(600)


def late_put(world: World) -> None:
    """The archive is stopped before a PUT; an heir stores the file, which is merged and removed; then the PUT comes."""
    store = open_store(small.direct(world).store)
    held = Held(is_stored, lambda: world.signal("archive", signal.SIGSTOP))
    hasty = {"compact": {"every_seconds": 1.0, "grace_seconds": 0.0}}

    def gone() -> bool:
        return manifest.visible(store, CLEAN).cover(held.key) is not None and not store.exists(held.key)

    with world.unsupervised():
        try:
            with mannered(world, Manners(("PUT",), seen=held)):
                world.wait("a PUT of the archive", held.there.is_set, 60)
            with world.extra("processors", "archive"):
                world.wait_joined()
                with world.extra("processors", "compact", over=hasty):
                    world.wait("the file to be replaced and removed", gone, STEP_SECONDS)
                with halted(world):
                    held.go.set()
                    world.wait("the late PUT", lambda: store.exists(held.key), 30)
                    world.signal("archive", signal.SIGCONT)
                    world.sleep(5)
        finally:
            held.go.set()
            world.signal("archive", signal.SIGCONT)
    world.wait_ready()


def store_killed(world: World) -> None:
    """The S3 server is killed as it is given a merged file, and again as it is given a state."""
    for wanted in (is_merged, is_state):
        pid = world.pid("store")
        trap = Trap(wanted, 1, lambda: world.kill("store"))
        with mannered(world, Manners(("PUT",), seen=trap)):
            world.wait("the PUT to kill at", trap.sprung.is_set, STEP_SECONDS)
        world.wait_restarted("store", pid)
    world.wait_ready()


def temp_full(world: World) -> None:
    """The temporary folder of a compactor has no room; then it has."""
    folder = world.state.path.parent / "small-tmp"
    folder.mkdir(exist_ok=True)
    with small_disk(folder, "64m"), halted(world):
        ballast = folder / "ballast"
        fill(ballast)
        os.truncate(ballast, ballast.stat().st_size - SPARE)
        with world.extra("processors", "compact", env={"TMPDIR": str(folder)}):
            world.wait("a round that fails", lambda: said(world, FAILED), STEP_SECONDS)
            assert not said(world, "compacted"), "it merged without room: this proves nothing"
            ballast.unlink()
            world.wait("a merge", lambda: said(world, "compacted"), STEP_SECONDS)
    world.wait_ready()


def archive_killed(world: World) -> None:
    """The archive is killed, four times, as a merged file or a state is on its way."""
    for n in range(4):
        pid = world.pid("archive")
        once = threading.Event()

        def seen(path: str, once: threading.Event = once, n: int = n) -> None:
            if STEPS[n % 2][1](path) and not once.is_set():
                once.set()
                world.kill("archive")

        with mannered(world, Manners(("PUT",), seen=seen)):
            world.wait("the PUT to kill at", once.is_set, STEP_SECONDS)
        world.wait_restarted("archive", pid)


def hung(world: World) -> None:
    """Compact is stopped with a state on its way; another goes on; then the first and its PUT go on too."""
    held = Held(is_state, lambda: both(world, signal.SIGSTOP))
    with world.unsupervised():
        try:
            with mannered(world, Manners(("PUT",), seen=held)):
                world.wait("the PUT of a state", held.there.is_set, STEP_SECONDS)
            with world.extra("processors", "compact"):
                world.wait("a merge of another", lambda: said(world, "compacted"), STEP_SECONDS)
                world.sleep(5, 10)
                if world.dice.random() < 0.5:
                    held.go.set()
                    world.sleep(1)
                both(world, signal.SIGCONT)
                held.go.set()
                world.sleep(5)
        finally:
            held.go.set()
            both(world, signal.SIGCONT)
    world.wait_ready()


def queried(world: World) -> None:
    """Nothing but questions, four at a time, while rounds go on."""
    world.sleep(40, 50)


def _fault(name: str, says: str, act: Callable[[World], None], *, steady: bool = True, threads: int = 1) -> Fault:
    return Fault(
        name, 9, says, judged(act, steady=steady, threads=threads), GENTLE, seeds=3, setting="compact",
        touches=TOUCHED, needs=disks if act is temp_full else lambda: "",
    )  # fmt: skip


FAULTS = [
    _fault("compact-queried", "compaction at work, questions asked four at a time", queried, threads=4),
    _fault("compact-killed", "compact killed before and after each of its steps", at_each_step),
    _fault("compact-twice", "two compactors at once, and three", twice),
    _fault("compact-late-put", "the archive's PUT comes after its file was merged and removed", late_put, steady=False),
    _fault("compact-store-killed", "the S3 server killed in the middle of a round", store_killed, steady=False),
    _fault("compact-temp-full", "disk full under compact's temporary folder", temp_full),
    _fault("compact-archive-killed", "the archive killed while its files are merged", archive_killed),
    _fault("compact-hung", "compact hung at the decisive PUT, another goes on, then both", hung),
]
