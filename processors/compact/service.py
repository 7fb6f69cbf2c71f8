"""compact: a round of `headrace.lake.compaction` every so often, each in a process of its own.

That process takes the memory that sorting and Parquet need, and gives it back at its end. This one stays small, and
what ends the other (its limit of memory, kill -9) leaves this one to begin the next round. A round that was interrupted
anywhere has lost nothing; two compactors at once do the same work twice, and no harm.
"""

import hashlib
import logging
import threading
import time

from headrace.config import Config
from headrace.errors import ConfigError, TransientError
from headrace.protocol.names import lake_folder
from headrace.runtime import metrics
from headrace.runtime.health import Health
from headrace.store.open import open_store
from processors.compact.round import Counts, LostRoundError, run_round
from processors.group.hold import Hold, Stopped

log = logging.getLogger(__name__)

STORE = "store"  # the check: the object store answers
FIRST_SECONDS = 20.0  # before the first round: a stack that starts needs its cores for other things
ANYWAY_SECONDS = 3600.0  # a round is made, though nothing came or went: a day may have ended
_LOOK_SECONDS = 1.0


def run(config: Config, stop: threading.Event) -> None:
    """Begin a round each `compact.every_seconds` until `stop` is set.

    FatalError and ConfigError as the design has them; an outage is waited out.
    """
    with Health(config.compact.http, (STORE,)) as health:
        log.info("compact started", extra={"http_port": health.port, "enabled": config.compact.enabled})
        try:
            _Rounds(config, health, stop).run()
        except Stopped:
            return


class _Rounds:
    """The rounds, and what /readyz and the metrics say of them."""

    def __init__(self, config: Config, health: Health, stop: threading.Event) -> None:
        self._config, self._health, self._stop = config, health, stop
        self._hold = Hold(health)
        self._store = open_store(config.store)
        self._known, self._due = b"", 0.0  # what lay there when a round did nothing, and how long that is to hold
        self._merged = time.monotonic()  # the last time that a file was replaced: it goes when its grace is over

    def run(self) -> None:
        """Ends with Stopped, or with an error that is not to be waited out."""
        self._hold.repeat(STORE, "asking for the bucket", self._ask, self._wait)
        self._hold.admitted = True
        every = self._config.compact.every_seconds
        self._wait(min(every, FIRST_SECONDS))
        while not self._config.compact.enabled:
            self._wait(every)
        while True:
            began = time.monotonic()
            self._hold.repeat(STORE, "compacting", self._round, self._wait)
            self._wait(max(_LOOK_SECONDS, began + every - time.monotonic()))

    def _ask(self) -> None:
        """TransientError while the store is away; ConfigError where it refuses us, or has no such bucket."""
        next(self._store.list("_ledger/"), None)

    def _found(self) -> bytes:
        """What lies in the folders of the lake: to list them is little, to begin a round is half a CPU second."""
        found = hashlib.sha256()
        for topic in self._config.archived:
            for info in self._store.list(f"{lake_folder(topic)}/"):
                self._health.progress()
                found.update(info.key.encode() + b"\n")
        return found.digest()

    def _round(self) -> None:
        began = time.monotonic()
        try:
            found = self._found()
            if found == self._known and began < self._due:
                metrics.COMPACT_ROUNDS.inc()
                return
            counts = run_round(self._config, self._stop, self._health.progress)
        except LostRoundError as e:
            metrics.COMPACT_FAILURES.inc()
            log.warning("a round failed, and the next one does what it left", extra={"error": str(e)})
            return
        except (TransientError, ConfigError):
            metrics.COMPACT_FAILURES.inc()
            raise
        if counts is None:
            raise Stopped
        self._tell(counts, time.monotonic() - began)
        now, topics = time.monotonic(), counts["topics"].values()
        if any(t["merges"] for t in topics):
            self._merged = now
        quiet = counts["good"] and not any(t["merges"] or t["removed"] for t in topics)
        self._known = found if quiet else b""
        over = self._merged + self._config.compact.grace_seconds + _LOOK_SECONDS
        self._due = min(over if over > now else float("inf"), now + ANYWAY_SECONDS)

    def _tell(self, counts: Counts, seconds: float) -> None:
        """In the metrics, and in the log where something was done."""
        metrics.COMPACT_SECONDS.set(seconds)
        (metrics.COMPACT_ROUNDS if counts["good"] else metrics.COMPACT_FAILURES).inc()
        for topic, found in counts["topics"].items():
            stream = lake_folder(topic)
            metrics.COMPACT_FILES.labels(stream).set(found["after"])
            metrics.COMPACT_SMALL.labels(stream).set(found["small"])
            for counter, name in _COUNTERS.items():
                counter.labels(stream).inc(found[name])
            if found["merges"] or found["removed"]:
                log.info("compacted", extra={"topic": topic, **{k: v for k, v in found.items() if k != "problems"}})
            for problem in found["problems"]:
                log.error("can't compact", extra={"topic": topic, "error": problem})

    def _wait(self, seconds: float) -> None:
        """Let `seconds` pass, unless `stop` comes: then Stopped."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._health.progress()
            if self._stop.wait(min(left, _LOOK_SECONDS)):
                raise Stopped
        if self._stop.is_set():
            raise Stopped


_COUNTERS = {
    metrics.COMPACT_MERGED: "merged", metrics.COMPACT_REMOVED: "removed", metrics.COMPACT_ROWS: "rows",
    metrics.COMPACT_BYTES: "bytes",
}  # fmt: skip
