"""Holding while a dependency is away: back off, say so in /readyz, try the same again."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from headrace.errors import ConfigError, TransientError
from headrace.health import Health
from processors.archive.commit import Token

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_SECONDS = 0.25
MOST_SECONDS = 10.0
CHECK = "progress"


class Patience:
    """Repeats what fails for want of a dependency. Any thread may use it."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._lock = threading.Lock()
        self._waiting: dict[object, str] = {}

    def hold(self, token: Token, what: str, call: Callable[[], T]) -> T:
        """What `call` returns, however long it takes; Revoked once the token is void.

        A ConfigError is held too: whoever corrects the store's or the registry's settings there need not restart us.
        """
        me, delay = object(), FIRST_SECONDS
        try:
            while True:
                token.check()
                try:
                    return call()
                except (TransientError, ConfigError) as e:
                    level = logging.ERROR if isinstance(e, ConfigError) else logging.WARNING
                    log.log(level, "holding", extra={"doing": what, "error": str(e), "again_in_s": delay})
                    self._tell(me, f"{what}: {e}")
                token.wait(delay)
                delay = min(delay * 2, MOST_SECONDS)
        finally:
            self._tell(me, None)

    def _tell(self, me: object, why: str | None) -> None:
        with self._lock:
            if why is None:
                self._waiting.pop(me, None)
            else:
                self._waiting[me] = why
            self._health.ready(CHECK, not self._waiting, next(iter(self._waiting.values()), ""))
