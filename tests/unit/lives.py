"""Lives of processes in the small world: they die, come back as zombies, and lose their partitions to others."""

from contextlib import suppress

from hypothesis import strategies as st

from headrace.errors import ConfigError, HeadraceError
from processors.group.token import Partition
from tests.unit.clean_world import Crash, Make, Process, World, cleaning

LIVES = st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=4)  # steps to live; whether it is a zombie then


def live(world: World, until: int = 10**9, turns: int = 30, make: Make = cleaning) -> Process | None:
    """A process that dies after `until` steps; None if it does before it has joined."""
    world.until_crash = until
    process: Process | None = None
    try:
        process = Process(world, make)
        for _ in range(turns):
            process.turn()
    except Crash:
        pass
    world.until_crash = 10**9
    return process


def lives_of(world: World, lives: list[tuple[int, bool]], make: Make) -> None:
    """Processes that die one after another; what a zombie had produced arrives among the rows of its heir."""
    for until, zombie in lives:
        before = live(world, until, make=make)
        live(world, turns=3, make=make)
        if before is not None and zombie:
            before.producer.late()
    Process(world, make).run_dry()


def live_refused(world: World, make: Make, service: str, until: int) -> None:
    """A process of a service that dies after `until` steps, unless it is refused before: too many versions."""
    world.until_crash, refused = until, list[str]()
    try:
        process = Process(world, make)
        for _ in range(20):
            process.turn()
    except Crash:
        pass
    except ConfigError as e:  # too many versions without a commit
        refused.append(str(e))
    world.until_crash = 10**9
    assert all(f"start {service} until it has no lag" in text for text in refused)


def wake(zombie: Process) -> None:
    """A process that Kafka has given up goes on: its rows arrive late, its commits are refused."""
    zombie.producer.late()
    zombie.client.fenced = True
    zombie.client.lose(*zombie.client.at)
    with suppress(HeadraceError):
        for _ in range(5):
            zombie.turn()


def change_hands(
    world: World,
    make: Make,
    partition: Partition,
    turns: int,
    how: str,
    *,
    back: bool,
    work: int,
    torn: int | None = None,
) -> None:
    """Kafka confirms late; while a process waits, another one gets the partition, deals with it, may hand it back.

    `how`: the partition is taken by `revoke` or `lose`, in one of the first `turns`; `work`: turns of the other one.
    `torn`: Kafka confirms at once, but takes only so many partitions of a commit, and fails the rest of it.
    """
    first, second = Process(world, make), Process(world, make, given=False)

    def away() -> None:
        getattr(first.client, how)(partition)
        first.interlude = moved  # at the poll after the one that tells it

    def moved() -> None:
        second.client.give(partition)
        for _ in range(work):
            second.turn()
        if back:
            second.client.revoke(partition)
            second.turn()
            first.client.give(partition)

    for _ in range(turns):
        first.producer.stall, first.client.torn = (3, []) if torn is None else (0, [torn] * 3)
        first.interlude = away
        first.turn()
        if world.kafka.owners.get(partition) is not first.client:
            break
    for process in (first, second):
        if any(world.kafka.owners.get(p) is process.client for p in process.partitions) or process.client._events:
            process.run_dry()
    Process(world, make).run_dry()
