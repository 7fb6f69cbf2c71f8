"""Waiting for a dependency without losing the group: partitions pause, polling goes on, and the log says why."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from headrace import kafka
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.health import Health
from headrace.kafka import Message
from processors.assignment import Place

log = logging.getLogger(__name__)
T = TypeVar("T")

_FIRST_DELAY, _MOST_DELAY = 0.25, 10.0
_FINISH_SECONDS = 20.0  # for the batch in hand, after SIGTERM
_PATIENT_SECONDS = 3.0  # until a wait for Kafka counts as an outage
_HARMLESS = {"_MAX_POLL_EXCEEDED"}  # the group's callbacks say what was lost


class Stopped(Exception):  # noqa: N818 - no error: we were told to
    """SIGTERM came, and the work in hand can't be finished in time."""


class Patience:
    """Everything that waits does it here. `backlog` collects messages that came while waiting, in their order.

    While it is `working` on a batch, SIGTERM leaves it some time to finish that; else it ends at once.

    A ConfigError ends the process until everybody has let us in once (`let_in`). From then on it is waited out like an
    outage: brokers, registries and stores refuse for a while too, and who mends their settings need not restart us. A
    FatalError always ends it: no wait makes a log whole, or a topic the one it was.
    """

    def __init__(self, consumer: kafka.Consumer, health: Health, stop: threading.Event) -> None:
        self._consumer, self._health, self._stop = consumer, health, stop
        self._stopping: float | None = None
        self._paused = False
        self.backlog: list[Message] = []
        self._ends: dict[Place, int] = {}
        self.working = self.let_in = False

    def hold(
        self, check: str, doing: str, call: Callable[[], T], wanted: Callable[[], bool] = lambda: True
    ) -> T | None:
        """What `call` returns, however long its dependency is away; None once it is not `wanted` any more.

        `check` is what /readyz calls the dependency. ConfigError until we are `let_in`. Stopped when SIGTERM has come,
        and there is nothing to finish.
        """
        delay, failed = _FIRST_DELAY, False
        while wanted():
            try:
                out = call()
            except (TransientError, ConfigError) as e:
                if isinstance(e, ConfigError) and not self.let_in:
                    raise
                failed = True
                self._health.ready(check, False, str(e))
                about = {"for": check, "doing": doing, "error": str(e), "again_in_s": delay}
                log.log(_level(e), "waiting", extra=about)
                self._breathe(delay)
                delay = min(2 * delay, _MOST_DELAY)
            else:
                if failed:
                    log.info("goes on", extra={"doing": doing})
                self._health.ready(check, True)
                self._resume()
                return out
        if failed:  # nobody waits for it any more
            self._health.ready(check, True)
        self._resume()
        return None

    def delivering(self, seconds: float) -> None:
        """To be called again and again while Kafka has yet to confirm what was produced, for `seconds` already."""
        self._health.progress()
        self._check_stop()
        if seconds > _PATIENT_SECONDS:
            self._health.ready("kafka", False, f"has not confirmed what was produced {seconds:.0f} s ago")
            self._breathe(0.0)

    def delivered(self) -> None:
        """Kafka has confirmed everything."""
        if self._paused:
            self._health.ready("kafka", True)
            self._resume()

    def consume(self, count: int, seconds: float) -> list[Message]:
        """At most `count` messages, those that came while waiting first; waits `seconds` where fewer are there."""
        if self.backlog:
            out, self.backlog = self.backlog, []
            return out
        try:
            found = self._consumer.consume(count, seconds)
        except kafka.KafkaException as e:
            self._complain(e.args[0])
            return []
        return [m for m in found if self._usable(m)]

    def ends(self) -> dict[Place, int]:
        """Where logs have ended since the last call, and all that came before has been handed out."""
        if self.backlog:
            return {}
        out, self._ends = self._ends, {}
        return out

    def forget(self) -> None:
        """Partitions are ours anew: what was read of them before is read again, and has no place in between."""
        self.backlog, self._ends = [], {}

    def _breathe(self, seconds: float) -> None:
        """Let `seconds` pass, polling."""
        if not self._paused:
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
        until = time.monotonic() + seconds
        while True:
            self._health.progress()
            self._check_stop()
            m = self._consumer.poll(max(0.0, min(0.5, until - time.monotonic())))
            if m is not None and self._usable(m):
                self.backlog.append(m)
            if time.monotonic() >= until:
                return

    def _resume(self) -> None:
        if self._paused:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False

    def _check_stop(self) -> None:
        if not self._stop.is_set():
            return
        self._stopping = self._stopping or time.monotonic()
        if time.monotonic() - self._stopping >= (_FINISH_SECONDS if self.working else 0.0):
            raise Stopped

    def _usable(self, m: Message) -> bool:
        error = m.error()
        if error is None:
            return True
        if error.name() == "_PARTITION_EOF":
            self._ends[m.topic() or "", m.partition() or 0] = m.offset() or 0
            return False
        self._complain(error, f"{m.topic()}/{m.partition()}")
        return False

    def _complain(self, error: kafka.KafkaError, where: str = "") -> None:
        """Log what passes, raise what doesn't. /readyz has what a person must mend, until Kafka is looked at again."""
        if error.name() == "_AUTO_OFFSET_RESET":
            raise FatalError(
                f"{where}: readings were deleted before clean read them: {error.str()}. Restart clean: it says which, "
                "and what to do. Give the topic a longer retention"
            )
        if error.name() in _HARMLESS:
            return
        translated = kafka.translate(error, f"consuming {where}")
        if isinstance(translated, FatalError) or (isinstance(translated, ConfigError) and not self.let_in):
            raise translated
        if isinstance(translated, ConfigError):
            self._health.ready("kafka", False, str(translated))
        log.log(_level(translated), "Kafka has trouble", extra={"error": str(translated)})


def _level(e: TransientError | ConfigError) -> int:
    return logging.ERROR if isinstance(e, ConfigError) else logging.WARNING
