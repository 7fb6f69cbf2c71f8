"""Group 8: derive, whose function makes none, one or two rows of a reading, and fails on some.

Afterwards each stored reading has exactly its rows in the lake, or its dead letter, once: parts.py computes them.
"""

import signal
from collections.abc import Callable
from functools import partial

from tests.faults import parts
from tests.faults.fault import Fault
from tests.faults.fleet import Shape
from tests.faults.protocol import MOVED_SECONDS
from tests.faults.proxy import Manners
from tests.faults.servers import killed_waiting
from tests.faults.services import ended, frozen, hung, killed, killed_again, nothing
from tests.faults.world import SERVICES, World

GENTLE, POISON = Shape(rate=600), Shape(rate=600, poison=0.01)
TOUCHED = ("tests/faults/parts.py", "tests/faults/derived.py")


def judged(act: Callable[[World], None], versions: int = 1) -> Callable[[World], None]:
    """`act`; afterwards the derived rows are looked at too, of so many versions of the function at least."""

    def strike(world: World) -> None:
        world.judges.append(partial(parts.judge, world, versions))
        act(world)

    return strike


def new_functions(world: World) -> None:
    """Twice another version of the function, and derive killed or told to end."""
    for _ in range(2):
        world.sleep(0, 2)
        parts.renew(world.config)
        world.dice.choice((killed, ended))("derive")(world)
    world.sleep(2)


def zombie(world: World) -> None:
    """Derive is stopped until its partitions have moved to another, then resumed."""
    with world.extra("processors", "derive"):
        world.wait_joined()
        with world.unsupervised(), world.stopped("derive"):
            world.sleep(MOVED_SECONDS)
        world.sleep(8)
    world.wait_ready()


def heir(world: World) -> None:
    """Derive is stopped, and resumed as another with a new function takes over: both make rows of the same readings."""
    with world.unsupervised():
        world.signal("derive", signal.SIGSTOP)
        try:
            parts.renew(world.config)
            with world.extra("processors", "derive"):
                world.wait_joined()
                world.sleep(0, 2)
                world.signal("derive", signal.SIGCONT)
                world.sleep(10)
        finally:
            world.signal("derive", signal.SIGCONT)
    world.sleep(1)
    world.wait_ready()


def members(world: World) -> None:
    """A second derive joins and leaves, three times, perhaps killed: partitions go to and fro."""
    for _ in range(3):
        with world.extra("processors", "derive") as process:
            world.wait_joined()
            world.sleep(2, 6)
            if world.dice.random() < 0.5:
                process.kill()
        world.sleep(1, 4)
    world.wait_ready()


def servers_away(world: World) -> None:
    """The registry hangs and the S3 server fails while derive starts with a new function, which it has to store."""
    parts.renew(world.config)
    with world.registry.behaving(Manners(hang=True)), world.s3.behaving(Manners(errors=1.0)):
        world.kill("derive")
        world.sleep(10, 15)
    world.wait_ready()
    world.sleep(3)


def _fault(name: str, says: str, act: Callable[[World], None], shape: Shape = GENTLE, versions: int = 1) -> Fault:
    return Fault(name, 8, says, judged(act, versions), shape, seeds=3, setting="derived", touches=TOUCHED)


FAULTS = [
    _fault("derive-none", "a derived stream, no fault", nothing),
    _fault("derive-killed", "derive killed (kill -9)", killed("derive")),
    _fault("derive-killed-again", "derive killed, and twice more as it recovers", killed_again("derive")),
    _fault("derive-frozen", "derive stopped for 30 s, then resumed", frozen("derive")),
    _fault("derive-hung", "derive hung until its supervisor replaces it", hung("derive")),
    _fault("derive-ended", "derive told to end (SIGTERM)", ended("derive")),
    _fault("derive-zombie", "derive stopped, resumed when its partitions have moved", zombie),
    _fault("derive-new-function", "another version of the function, twice", new_functions, versions=2),
    _fault("derive-heir-new-function", "derive stopped, resumed beside an heir with a new function", heir, versions=2),
    _fault("derive-members", "a second derive joins and leaves three times", members),
    _fault("derive-clean-killed", "clean and derive killed at once", killed("clean", "derive")),
    _fault("derive-all-killed", "bridge, clean, derive and archive killed at once", killed(*SERVICES, "derive")),
    _fault("derive-kafka-killed", "Kafka killed while derive is at work", killed("kafka")),
    _fault("derive-killed-waiting", "derive killed while it waits for Kafka", killed_waiting("derive")),
    _fault("derive-servers-away", "registry and S3 server away as derive starts with a new function", servers_away,
           versions=2),
    _fault("derive-poison-killed", "1 % refused before it, and derive is killed", killed("derive"), POISON),
]  # fmt: skip
