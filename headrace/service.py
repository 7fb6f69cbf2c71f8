"""How every service starts and ends: arguments, configuration, logs, and exit codes that an orchestrator can use."""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from headrace import logs
from headrace.config import Config, load
from headrace.config.find import config_file
from headrace.errors import ConfigError, HeadraceError

log = logging.getLogger(__name__)


def run_service(name: str, main: Callable[[Config, threading.Event], None], argv: list[str] | None = None) -> int:
    """Run `main(config, stop)` until it returns; `stop` is set by SIGTERM or SIGINT. Returns the exit code.

    0: it ended as it was told to. 1: going on would have lost or doubled readings, so restart it. 2: the
    configuration is wrong, so a restart won't help.
    """
    path = configuration(name, argv)
    logs.setup(name)
    stop = stopping()
    try:
        main(load(path), stop)
    except ConfigError as e:
        print(f"{name}: {e}", file=sys.stderr)
        return 2
    except HeadraceError as e:
        log.error("stopped", extra={"error": str(e), "kind": type(e).__name__})  # noqa: TRY400 - its message says it all
        return 1
    log.info("ended as told")
    return 0


def configuration(name: str, argv: list[str] | None = None) -> Path | None:
    """The file that the arguments of the process `name`, or its environment, give. Ends the process where they can't be
    understood, or ask for help.
    """
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--config", type=Path, help="YAML file; HEADRACE_CONFIG and HEADRACE_* variables count too")
    given: Path | None = parser.parse_args(argv).config
    return config_file(given)


def stopping() -> threading.Event:
    """What SIGTERM and SIGINT set from now on."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
