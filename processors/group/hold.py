"""Waiting while a server is away: one decision whether to try again, and two ways to wait meanwhile.

Hold decides. PollHold waits on the thread that polls: partitions stand still, the group is served. JobHold waits on any
other thread, and wakes as soon as the partition is taken away.
"""

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Protocol, TypeVar

from headrace.errors import ConfigError, TransientError
from headrace.runtime import backoff
from headrace.runtime.health import Checks
from processors.group.token import Token

log = logging.getLogger(__name__)
T = TypeVar("T")

_FINISH_SECONDS = 20.0  # for the batch in hand, after SIGTERM
_UNPOLLED_SECONDS = 5.0  # of long work, until the group is served in between: short work keeps what was fetched ahead
_OUTAGE_SECONDS = 3.0  # until a wait for Kafka's confirmations counts as an outage


class Stopped(Exception):  # noqa: N818 - not a failure: we were asked to stop
    """SIGTERM came, and the work in hand can't be finished in time."""


class Pollable(Protocol):
    """A group member that can wait: see member.Member."""

    def stand_still(self) -> None:
        """Pause every partition."""

    def go_on(self) -> None:
        """Resume every partition."""

    def serve(self, seconds: float) -> None:
        """Poll for `seconds` at most, and keep what comes."""


class Hold:
    """Repeats a call while what it needs is away, and says so in /readyz. Any thread may use it.

    TransientError: wait and call again, always. ConfigError: the same once we are `admitted`, that is, once every
    server has taken us. Servers refuse for a while too, and a person who corrects their settings must not have to
    restart us; before that a ConfigError ends the process. FatalError always ends it: no wait makes a log whole.
    """

    def __init__(self, health: Checks, *, admitted: bool = False) -> None:
        self.health, self.admitted = health, admitted
        self._lock = threading.Lock()
        self._waiting: dict[object, tuple[str, str]] = {}  # check and reason of each that waits

    def repeat(
        self, check: str, doing: str, call: Callable[[], T], wait: Callable[[float], object], *, prefix: str = ""
    ) -> T:
        """Return what `call` returns, however long it takes. `check` is what /readyz calls the dependency.

        `wait(seconds)` passes the time between two calls; what it raises ends the wait. In /readyz the reason begins
        with `prefix`.
        """
        me, failed = object(), False
        pauses = backoff.pauses(backoff.MOST_SECONDS if self.admitted else backoff.START_SECONDS)
        try:
            while True:
                try:
                    out = call()
                except (TransientError, ConfigError) as e:
                    self.tolerate(e)
                    failed, seconds = True, next(pauses)
                    about = {"for": check, "doing": doing, "error": str(e), "again_in_s": round(seconds, 2)}
                    log.log(level(e), "waiting", extra=about)
                    self.say(me, check, f"{prefix}{e}")
                else:
                    if failed:
                        log.info("goes on", extra={"doing": doing})
                    return out
                wait(seconds)
        finally:
            self.say(me, check)

    def tolerate(self, error: TransientError | ConfigError) -> None:
        """Return if `error` is to be waited out; else raise it."""
        if isinstance(error, ConfigError) and not self.admitted:
            raise error

    def refused(self, error: ConfigError) -> None:
        """Kafka refuses what we read: raise it, or show it in /readyz until Kafka is looked at again."""
        self.tolerate(error)
        self.health.ready("kafka", False, str(error))
        log.error("Kafka refuses a request", extra={"error": str(error)})

    def say(self, me: object, check: str, why: str = "") -> None:
        """Say that `me` waits, and why; or that it goes on. The check is fine once nobody waits for it."""
        with self._lock:
            self._waiting.pop(me, None)
            if why:
                self._waiting[me] = (check, why)
            reasons = [reason for name, reason in self._waiting.values() if name == check]
            self.health.ready(check, not reasons, next(iter(reasons), ""))


class PollHold:
    """The way to wait on the thread that polls. While it is `working` on a batch, SIGTERM leaves time to finish it."""

    def __init__(self, hold: Hold, member: Pollable, stop: threading.Event) -> None:
        self._hold, self._member, self._stop = hold, member, stop
        self._stopping: float | None = None
        self._polled = monotonic()
        self.working = False

    def hold(self, check: str, doing: str, call: Callable[[], T]) -> T:
        """Return what `call` returns: see Hold. Stopped if SIGTERM has come and there is nothing to finish."""
        self._polled = monotonic()
        try:
            return self._hold.repeat(check, doing, call, self._breathe)
        finally:
            self._member.go_on()

    def admit(self) -> None:
        """Every server has taken us: from now on a ConfigError is waited out."""
        self._hold.admitted = True

    def alive(self) -> None:
        """Call this again and again in a call of `hold` that may take long: the group is served. Stopped as there."""
        self._hold.health.progress()
        if monotonic() - self._polled >= _UNPOLLED_SECONDS:
            self._breathe(0.0)
            self._polled = monotonic()

    def delivering(self, seconds: float) -> None:
        """Call this again and again while Kafka has yet to confirm what was produced, for `seconds` already."""
        self._hold.health.progress()
        self._check_stop()
        if seconds > _OUTAGE_SECONDS:
            self._hold.say(self, "kafka", f"has not confirmed what was produced {seconds:.0f} s ago")
            self._breathe(0.0)

    def delivered(self) -> None:
        """Kafka has confirmed everything."""
        self._hold.say(self, "kafka")
        self._member.go_on()

    def _breathe(self, seconds: float) -> None:
        """Let `seconds` pass, polling."""
        self._member.stand_still()
        until = monotonic() + seconds
        while True:
            self._hold.health.progress()
            self._check_stop()
            self._member.serve(max(0.0, min(0.5, until - monotonic())))
            if monotonic() >= until:
                return

    def _check_stop(self) -> None:
        if not self._stop.is_set():
            return
        self._stopping = self._stopping or monotonic()
        if monotonic() - self._stopping >= (_FINISH_SECONDS if self.working else 0.0):
            raise Stopped


class JobHold:
    """The way to wait on any other thread: `check` is what /readyz calls all that its jobs wait for."""

    def __init__(self, hold: Hold, check: str) -> None:
        self._hold, self._check = hold, check

    def hold(self, token: Token, doing: str, call: Callable[[], T]) -> T:
        """Return what `call` returns: see Hold. Revoked once the token is void."""

        def ours() -> T:
            token.check()
            return call()

        return self._hold.repeat(self._check, doing, ours, token.wait, prefix=f"{doing}: ")


def level(error: TransientError | ConfigError) -> int:
    """The level to log it at: a person must act on a ConfigError."""
    return logging.ERROR if isinstance(error, ConfigError) else logging.WARNING
