"""One run: a fleet publishes, a fault strikes and ends, all is stored, and the audit looks at everything."""

import time
from dataclasses import dataclass, field
from random import Random

from headrace.lake.flow import watch
from headrace.lake.waiting import wait_stored
from tests.faults import evidence
from tests.faults.audit import Finding, audit
from tests.faults.fault import Fault
from tests.faults.fleet import publishing
from tests.faults.tail import Tail, wait_caught_up
from tests.faults.world import SERVICES, World

WARM_SECONDS = 3.0
RECOVERY_SECONDS = 240.0
STORED_SECONDS = 180.0
BEGIN_SECONDS = 300.0


class UnreadyError(Exception):
    """A stack on which no run can begin: a service is not ready, or an earlier run's readings are still under way."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run. `recovery`: seconds from the fault's end until all sent before it was in the lake."""

    finding: Finding
    recovery: float | None
    seconds: float
    problems: list[str]
    figures: dict[str, int] = field(default_factory=dict)  # of the fault's own judges

    @property
    def passed(self) -> bool:
        """Whether every obligation was met, and it all went on again by itself."""
        return not self.problems


def begin(world: World, seconds: float = BEGIN_SECONDS) -> evidence.Ends:
    """Where each log ends, once every service is ready and all that earlier runs published is stored.

    So what an earlier run left behind is not counted as this one's fault. Raises UnreadyError where readings are still
    under way `seconds` after the services were ready.
    """
    try:
        try:
            world.wait_ready(seconds=60)
        except AssertionError:
            world.kill(*SERVICES)
            world.wait_ready()
    except AssertionError as e:
        raise UnreadyError(str(e)) from None
    cfg = world.config
    with watch(cfg) as watcher:
        if under_way := wait_stored(cfg, watcher, seconds):
            raise UnreadyError(f"after {seconds:.0f} s still under way: {', '.join(under_way[:3])}")
    return evidence.ends(cfg)


def run(world: World, fault: Fault, seed: int) -> Outcome:
    """Run a fault with a seed on a stack.

    What the fault or the stack does wrong is a problem of the outcome, not an error. Raises UnreadyError where the run
    can't begin.
    """
    began = time.monotonic()
    world.dice = Random(f"{fault.name}/{seed}")
    world.judges, world.figures = [], {}
    world.s3.dice = Random(seed)
    boot = f"f{seed}-{time.time_ns() // 1_000_000:x}"
    first = begin(world)
    cfg = world.config
    problems: list[str] = []
    with Tail(cfg, first) as tail, publishing(cfg, boot, fault.shape) as fleet:
        world.fleet = fleet
        time.sleep(WARM_SECONDS)
        try:
            fault.strike(world)
        except AssertionError as e:
            problems.append(f"the fault itself: {e}")
        healed = time.time()
        recovery = wait_caught_up(cfg, tail, healed, RECOVERY_SECONDS)
        fleet.stop(120)
    if recovery is None:
        problems.append(f"not caught up {RECOVERY_SECONDS:.0f} s after the fault's end")
    problems += fleet.problems
    try:
        world.wait_ready()
    except AssertionError as e:
        problems.append(str(e))
    with watch(cfg) as watcher:
        problems += [f"not stored: {what}" for what in wait_stored(cfg, watcher, STORED_SECONDS)]
    finding = audit(fleet.sent(), boot, evidence.collect(cfg, first))
    # What a device sends again for want of a receipt comes behind what it sent meanwhile.
    allowed = {"lost"} if fault.bound else {"disordered"} if fault.shape.receipts or fault.unordered else set()
    problems += [f for f in finding.faults if f.split()[1].rstrip(":") not in allowed]
    problems += [problem for judge in world.judges for problem in judge()]
    return Outcome(finding, recovery, time.monotonic() - began, problems, world.figures)
