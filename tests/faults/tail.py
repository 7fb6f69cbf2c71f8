"""How far readings have come: watches `.clean` as it grows, and the archive's commits."""

import threading
import time
from contextlib import suppress
from typing import Self

from headrace import kafka
from headrace.config import Config
from headrace.errors import HeadraceError
from tests.faults.evidence import CLEAN, Ends

_POLL = 0.2


class Tail:
    """Reads `.clean` from `begin` on. `newest[p]`: (event time, microseconds; offset) of partition p's last record."""

    def __init__(self, cfg: Config, begin: Ends) -> None:
        self.newest: dict[int, tuple[int, int]] = {}
        self.begin = begin
        self._cfg = cfg
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        client = kafka.consumer(self._cfg.kafka, "headrace-tail")
        try:
            client.assign([kafka.TopicPartition(t, p, o) for (t, p), o in self.begin.items() if t == CLEAN])
            while not self._stop.is_set():
                for m in client.consume(5000, timeout=_POLL):
                    if m.error() is None:
                        self.newest[m.partition() or 0] = (event_time(bytes(m.value() or b"")), m.offset() or 0)
        finally:
            client.close()


def event_time(value: bytes) -> int:
    """The second field of a reading, behind its device id: what fastavro would take ten times as long to find."""
    length, at = _zigzag(value, 5)
    return _zigzag(value, at + length)[0]


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7


def wait_caught_up(cfg: Config, tail: Tail, since: float, seconds: float) -> float | None:
    """Seconds from `since` (Unix time) until everything sent before it was stored; None where it took too long.

    Per partition: once a reading sent after `since` has come through clean, and the archive has committed past it.
    """
    micros, until = int(since * 1e6), time.monotonic() + seconds
    partitions = [p for topic, p in tail.begin if topic == CLEAN]
    targets: dict[int, int] = {}
    client = kafka.consumer(cfg.kafka, cfg.archive.group)
    try:
        while time.monotonic() < until:
            for p, (newest, offset) in list(tail.newest.items()):
                if newest >= micros:
                    targets.setdefault(p, offset)
            if len(targets) == len(partitions):
                with suppress(HeadraceError):
                    found = kafka.committed(client, [(CLEAN, p) for p in partitions])
                    if all((found[CLEAN, p][0] or 0) > offset for p, offset in targets.items()):
                        return time.time() - since
            time.sleep(0.1)
    finally:
        client.close()
    return None
