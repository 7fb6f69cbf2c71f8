"""Ports for servers of a test's own."""

from typing import Any

from headrace.stack import ports
from headrace.stack.plan import DEFAULT_PORTS, Wishes


def wishes(**more: Any) -> Wishes:
    """Free ports away from those that stacks take when they are free: who starts at the same time would take them too.

    `more`: further options of `headrace up`.
    """
    taken: set[int] = set()
    return Wishes(ports={name: ports.free(taken) for name in DEFAULT_PORTS}, **more)
