"""How every service starts and ends: arguments, configuration and its check, logs, exit codes for an orchestrator."""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from headrace.config import Config, check, load
from headrace.config.check import Service
from headrace.config.find import config_file
from headrace.errors import ConfigError, HeadraceError
from headrace.runtime import logs

log = logging.getLogger(__name__)

# The folder that this Headrace was imported from: PYTHONPATH of the processes that it starts with `python -P`, which
# does not look into the working folder.
IMPORT_PATH = str(Path(__file__).parents[2])


def run_service(
    name: str,
    main: Callable[[Config, threading.Event], None],
    argv: list[str] | None = None,
    *,
    reads: Service | None = None,
) -> int:
    """Run `main(config, stop)` until it returns; `stop` is set by SIGTERM or SIGINT. Returns the exit code.

    `reads`: the service whose settings are checked first; None: no check. Exit code 0: stopped on request, or done.
    1: to go on would have lost or doubled readings, so restart it. 2: the configuration is wrong, so a restart does not
    help.
    """
    path = configuration(name, argv)
    logs.setup(name)
    stop = stopping()
    try:
        config = load(path)
        if reads is not None:
            check.require(config, [reads], path)
        main(config, stop)
    except ConfigError as e:
        print(f"{name}: {e}", file=sys.stderr)
        return 2
    except HeadraceError as e:
        log.error("stopped", extra={"error": str(e), "kind": type(e).__name__})  # noqa: TRY400 - its message says it all
        return 1
    log.info("stopped on request" if stop.is_set() else "done")
    return 0


def configuration(name: str, argv: list[str] | None = None) -> Path | None:
    """The configuration file that the arguments of the process `name` give, else HEADRACE_CONFIG; None for neither.

    Ends the process when the arguments are wrong or ask for help.
    """
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--config", type=Path, help="YAML file; HEADRACE_CONFIG and HEADRACE_* variables count too")
    given: Path | None = parser.parse_args(argv).config
    return config_file(given)


def stopping() -> threading.Event:
    """An event that SIGTERM and SIGINT set from now on."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
