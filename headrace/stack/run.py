"""Run a planned stack in this process: the foreground of `headrace up`, or what `--detach` leaves behind."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace import logs
from headrace.errors import HeadraceError
from headrace.stack import page, plan
from headrace.stack.newest import Newest
from headrace.stack.plan import Plan, Spec
from headrace.stack.state import State
from headrace.stack.supervisor import Supervisor, specs

log = logging.getLogger(__name__)


def run(made: Plan, services: list[Spec], tick: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; the caller holds the state. `tick` gets snapshots, several a second."""
    supervisor = Supervisor(made, services)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    with (
        Newest(made.config) as newest,
        page.serve(made.ports["page"], {"/api/status": lambda _: supervisor.snapshot(), "/api/newest": newest.answer}),
    ):
        supervisor.run(stop, lambda: tick(supervisor.snapshot()))


def main() -> int:
    """`python -m headrace.stack.run --state DIR --hold FD`: what `up --detach` starts, the plan being made."""
    parser = argparse.ArgumentParser(prog="headrace-stack")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--hold", type=int, required=True, help="descriptor of the held lock")
    args = parser.parse_args()
    os.set_inheritable(args.hold, False)
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
