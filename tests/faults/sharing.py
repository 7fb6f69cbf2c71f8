"""Group 4, too: several bridges share the messages; one is killed for good, or they are all restarted in turn."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.faults.fault import Fault
from tests.faults.world import World

GROUP = {"shared_group": "faults", "leave": True}
MEMBERS = ("headrace-faults-1", "headrace-faults-2")
Members = dict[str, subprocess.Popen[bytes]]


@contextmanager
def _sharing(world: World) -> Iterator[Members]:
    """The stack's bridge and two more are a group; at the end it is alone again, before the others leave."""
    with _member(world, MEMBERS[0]) as first, _member(world, MEMBERS[1]) as second:
        try:
            with world.configured(bridge=GROUP):
                _restart_bridge(world)
                yield {MEMBERS[0]: first, MEMBERS[1]: second}
        finally:
            _restart_bridge(world)


@contextmanager
def _member(world: World, client_id: str) -> Iterator[subprocess.Popen[bytes]]:
    with world.extra("bridge", over={"bridge": {**GROUP, "client_id": client_id}}) as process:
        log = world.state.path / "tmp" / f"extra-{world.extras}.log"
        world.wait(f"{client_id} to receive", lambda: '"receiving"' in log.read_text(), 60)
        yield process


def _restart_bridge(world: World) -> None:
    world.wait_restarted("bridge", world.signal("bridge", signal.SIGTERM))


def _drained(world: World, client_id: str) -> None:
    with world.extra("bridge", "drain", over={"bridge": {**GROUP, "client_id": client_id}}) as process:
        world.wait(f"the drain of {client_id}", lambda: process.poll() is not None, 90)
        assert process.returncode == 0, f"the drain of {client_id} ended with {process.returncode}"


def killed_for_good(world: World) -> None:
    """kill -9 of one of three, which never comes back; its session is drained later."""
    with _sharing(world) as members:
        world.sleep(1, 3)
        name = world.dice.choice(MEMBERS)
        members[name].kill()
        world.sleep(4, 8)
        _drained(world, name)


def restarted(how: signal.Signals) -> Callable[[World], None]:
    """The stack's own bridge, one of three: its supervisor starts it again with the same client id."""

    def strike(world: World) -> None:
        with _sharing(world):
            for _ in range(2):
                world.sleep(1, 3)
                world.wait_restarted("bridge", world.signal("bridge", how))

    return strike


FAULTS = [
    Fault(
        "sharing-killed-for-good", 4, "one of three bridges killed for good, its session drained later",
        killed_for_good, unordered=True,
    ),
    Fault(
        "sharing-killed", 4, "one of three bridges killed, twice, and restarted with its id",
        restarted(signal.SIGKILL), unordered=True,
    ),
    Fault(
        "sharing-left", 4, "one of three bridges leaves its group (SIGTERM), twice, and joins it again",
        restarted(signal.SIGTERM), unordered=True,
    ),
]  # fmt: skip
