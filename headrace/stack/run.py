"""Runs a planned stack in this process: the foreground of `headrace up`, or what `--detach` leaves running."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError
from headrace.runtime import logs
from headrace.stack import plan
from headrace.stack.plan import Spec, StackPlan
from headrace.stack.state import State
from headrace.stack.supervisor import Supervisor, specs

log = logging.getLogger(__name__)


def run(made: StackPlan, services: list[Spec], tick: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; the caller holds the state. `tick` gets snapshots several times a second.

    SIGUSR1 starts the services again, with the plan that is written then.
    """
    supervisor = Supervisor(made, services)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGUSR1, lambda *_: supervisor.again.set())
    supervisor.run(stop, (lambda: tick(supervisor.snapshot())) if tick is not None else (lambda: None))


def main() -> int:
    """`python -m headrace.stack.run --state DIR --lock FD`: what `up --detach` starts once the plan is made."""
    parser = argparse.ArgumentParser(prog="headrace-stack")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--lock", type=int, required=True, help="descriptor of the held lock")
    args = parser.parse_args()
    os.set_inheritable(args.lock, False)
    logs.setup("stack")
    try:
        made = plan.load_made(State(args.state))
        run(made, specs(made))
    except HeadraceError as e:
        log.error("stopped", extra={"error": str(e)})  # noqa: TRY400 - its message says it all
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
