"""derive: every derived stream of the configuration, in one process."""

import logging
import threading

from headrace.config import Config
from headrace.runtime.health import Health

log = logging.getLogger(__name__)
FUNCTIONS = "functions"  # the check that they are loaded: until then it is not ready, as it may end over one of them
_IDLE_SECONDS = 1.0


def run(config: Config, stop: threading.Event) -> None:
    """Make the derived streams until `stop` is set. Without any it waits: a container of it may always run.

    FatalError and ConfigError as the design has them; an outage is waited out.
    """
    with Health(config.derive.http, (FUNCTIONS,) if config.derived else ()) as health:
        log.info("derive started", extra={"streams": list(config.derived), "http_port": health.port})
        if config.derived:
            from processors.derive.together import (
                run_all,  # what it needs is large, and an idle process has no use of it
            )

            run_all(config, health, stop)
        while not stop.wait(_IDLE_SECONDS):
            health.progress()
