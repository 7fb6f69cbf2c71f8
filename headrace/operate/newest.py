"""The newest readings of streams, for a page: read from Kafka only while a page asks for them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from headrace.config import Config
from headrace.contracts.files import find
from headrace.contracts.model import Contract
from headrace.errors import ConfigError, TransientError
from headrace.operate.latest import Latest, Log
from headrace.operate.live import Reader, resolve

READINGS = 400  # at most in an answer
ITEMS = 100_000  # at most in all arrays of an answer together
IDLE_SECONDS = 15.0  # without a question, after which a stream's reader is closed: no page shows it any more
FRESH_SECONDS = 0.5  # for which an answer serves every page that asks
_TURN_SECONDS = 3.0  # for which a question waits until the one before it is answered
_NUMBERS = frozenset({"double", "float", "int", "long"})


class _Stream:
    """A stream that a page shows."""

    def __init__(self) -> None:
        self.open = ExitStack()
        self.latest: Latest | None = None
        self.answer: dict[str, Any] = {}
        self.answered = 0.0

    def fresh(self, seconds: float) -> bool:
        return time.monotonic() - self.answered < seconds


class Newest:
    """Answers with the newest readings of a stream. `close` it at the end."""

    def __init__(self, cfg: Config, open_log: Callable[[Config, str], AbstractContextManager[Log]] = Reader) -> None:
        """`open_log` is given the configuration and a topic."""
        self._cfg, self._open_log = cfg, open_log
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._idle: threading.Timer | None = None

    @property
    def streams(self) -> tuple[str, ...]:
        """What can be asked for."""
        return tuple(self._cfg.streams)

    def close(self) -> None:
        """Close every reader."""
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            for stream in list(self._streams):
                self._close(stream)

    def answer(self, stream: str) -> dict[str, Any]:
        """{"fields": [{name, unit, numeric}], "readings": [...]} of a stream, oldest first; times in ISO 8601.

        ConfigError for an unknown stream, TransientError when Kafka or the registry is away.
        """
        if stream not in self._cfg.streams:
            raise ConfigError(f"no stream {stream!r}; there are: {', '.join(self._cfg.streams)}")
        with self._turn():
            it = self._streams.setdefault(stream, _Stream())
            if it.latest is not None and it.fresh(FRESH_SECONDS):
                return it.answer
            try:
                it.answer = self._read(stream, it)
            except Exception:
                self._close(stream)
                raise
            it.answered = time.monotonic()
            self._close_when_idle()
            return it.answer

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_TURN_SECONDS):
            raise TransientError("Kafka or the registry is slow to answer")
        try:
            yield
        finally:
            self._lock.release()

    def _close(self, stream: str) -> None:
        self._streams.pop(stream).open.close()

    def _close_when_idle(self) -> None:
        """With the lock."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = threading.Timer(IDLE_SECONDS, self._look_whether_idle)
        self._idle.daemon = True
        self._idle.start()

    def _look_whether_idle(self) -> None:
        with self._lock:
            for stream, it in list(self._streams.items()):
                if not it.fresh(IDLE_SECONDS):
                    self._close(stream)
            if self._streams:
                self._close_when_idle()

    def _read(self, stream: str, it: _Stream) -> dict[str, Any]:
        contract = find(self._cfg.contract_of(stream), self._cfg.contracts)
        if it.latest is None:
            log = it.open.enter_context(self._open_log(self._cfg, resolve(self._cfg, stream)))
            it.latest = Latest(log, READINGS)
        readings: list[dict[str, Any]] = []
        items = 0
        for record in islice(it.latest.read(), READINGS):
            if record.reading is not None:
                items += sum(len(v) for v in record.reading.values() if isinstance(v, list))
                if readings and items > ITEMS:
                    break
                readings.append({k: _plain(v) for k, v in record.reading.items()})
        return {"fields": fields(contract), "readings": readings[::-1]}


def fields(contract: Contract) -> list[dict[str, Any]]:
    """Name, unit and whether it is a number, or an array of them, of each field."""
    return [
        {"name": f.name, "unit": f.unit or "", "numeric": (f.items or f.kind) in _NUMBERS and f.logical is None}
        for f in contract.fields
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value.hex() if isinstance(value, bytes) else value
