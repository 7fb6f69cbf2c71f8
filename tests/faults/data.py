"""Group 5: data that is refused, that is huge, or that is far too much."""

from tests.faults.fault import Fault
from tests.faults.fleet import Shape
from tests.faults.services import killed
from tests.faults.world import World


def as_it_comes(world: World) -> None:
    """The fleet's own readings are the fault."""
    world.sleep(12)


def burst(world: World) -> None:
    """For a minute, as much as the fleet can send."""
    assert world.fleet is not None
    rate = world.fleet.rate
    world.fleet.rate = 10 * rate
    world.sleep(60)
    world.fleet.rate = rate


def backlog(world: World) -> None:
    """Clean and archive stand still while an hour's readings of a fleet of 100 a second arrive."""
    assert world.fleet is not None
    rate = world.fleet.rate
    before = world.fleet.acknowledged
    with world.unsupervised(), world.stopped("clean", "archive"):
        world.fleet.rate = 6000
        fleet = world.fleet
        world.wait("360,000 readings", lambda: fleet.acknowledged - before > 360_000, 300)
        world.fleet.rate = rate
    world.sleep(1)
    world.wait_ready()


FAULTS = [
    Fault("poison", 5, "1 % of the messages are refused, by the bridge and by clean", as_it_comes, Shape(poison=0.01)),
    Fault("poison-clean-killed", 5, "the same, and clean is killed", killed("clean"), Shape(poison=0.01)),
    Fault("poison-bridge-killed", 5, "the same, and the bridge is killed", killed("bridge"), Shape(poison=0.01)),
    Fault(
        "bulky", 5, "1 % of the messages has 1.5 MB, or 3 MB and is refused", as_it_comes, Shape(rate=120, bulky=0.01)
    ),
    Fault("burst", 5, "ten times the rate for a minute", burst, Shape(rate=900), seeds=3),
    Fault("backlog", 5, "an hour's backlog of 100 readings/s", backlog, seeds=3),
]  # fmt: skip
