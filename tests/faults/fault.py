"""What a fault is, and the register of all of them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.fleet import Shape
from tests.faults.world import World


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong. `strike` makes it go wrong, and returns when it has ended."""

    name: str
    # 1 services, 2 servers, 3 the archive's protocol, 4 MQTT sessions, 5 data, 6 machine, 7 hub, 8 derive, 9 compact,
    # 10 files
    group: int
    says: str  # for the table
    strike: Callable[[World], None]
    shape: Shape = field(default_factory=Shape)
    seeds: int = 5
    bound: bool = False  # Mosquitto's own: what it acknowledged and had not written may be lost, and is counted
    unordered: bool = False  # devices' readings may lie in another order than that of sending
    # The stack that it needs, of settings.py: plain, disks, clocks, brokers, postgres, derived, compact, files.
    setting: str = "plain"
    touches: tuple[str, ...] = ()  # files beside the data path that make its results stale
    needs: Callable[[], str] = lambda: ""  # why it can't be run on this machine; empty when it can
