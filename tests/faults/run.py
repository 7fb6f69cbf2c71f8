"""One run: a fleet publishes, a fault strikes and ends, all settles, and the audit looks at everything."""

import time
from dataclasses import dataclass
from random import Random

from headrace.lake.flow import watch
from headrace.lake.settle import settle
from tests.faults import evidence
from tests.faults.audit import Finding, audit
from tests.faults.fault import Fault
from tests.faults.fleet import publishing
from tests.faults.tail import Tail, wait_stored
from tests.faults.world import SERVICES, World

WARM_SECONDS = 3.0
RECOVERY_SECONDS = 240.0
SETTLE_SECONDS = 180.0


@dataclass(frozen=True)
class Outcome:
    """What came of a run. `recovery`: seconds from the fault's end until all sent before it was in the lake."""

    finding: Finding
    recovery: float | None
    seconds: float
    problems: list[str]

    @property
    def passed(self) -> bool:
        """Whether every obligation was met, and it all went on again by itself."""
        return not self.problems


def _revive(world: World) -> None:
    """Whatever a failed run has left behind is not the next one's fault."""
    try:
        world.wait_ready(seconds=60)
    except AssertionError:
        world.kill(*SERVICES)
        world.wait_ready()


def run(world: World, fault: Fault, seed: int) -> Outcome:
    """Run a fault with a seed on a stack. Raises nothing that the fault or the stack does wrong: it is a problem."""
    began = time.monotonic()
    world.dice = Random(f"{fault.name}/{seed}")
    world.s3.dice = Random(seed)
    boot = f"f{seed}-{time.time_ns() // 1_000_000:x}"
    _revive(world)
    cfg = world.config
    begin = evidence.ends(cfg)
    problems: list[str] = []
    with Tail(cfg, begin) as tail, publishing(cfg.mqtt, boot, fault.shape) as fleet:
        world.fleet = fleet
        time.sleep(WARM_SECONDS)
        try:
            fault.strike(world)
        except AssertionError as e:
            problems.append(f"the fault itself: {e}")
        healed = time.time()
        recovery = wait_stored(cfg, tail, healed, RECOVERY_SECONDS)
        fleet.stop(120)
    if recovery is None:
        problems.append(f"not caught up {RECOVERY_SECONDS:.0f} s after the fault's end")
    problems += fleet.problems
    try:
        world.wait_ready()
    except AssertionError as e:
        problems.append(str(e))
    with watch(cfg) as watcher:
        problems += [f"not settled: {what}" for what in settle(cfg, watcher, SETTLE_SECONDS)]
    finding = audit(fleet.sent(), boot, evidence.collect(cfg, begin))
    # What a device sends again for want of a receipt comes behind what it sent meanwhile.
    allowed = {"lost"} if fault.bound else {"disordered"} if fault.shape.receipts or fault.unordered else set()
    problems += [f for f in finding.faults if f.split()[1].rstrip(":") not in allowed]
    return Outcome(finding, recovery, time.monotonic() - began, problems)
