"""The newest readings of a stream, for the status page: read from Kafka while somebody looks, and only then."""

import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from headrace.config import Config
from headrace.contracts.files import find
from headrace.contracts.model import Contract
from headrace.errors import ConfigError
from headrace.tools.live import Reader, resolve

READINGS = 400  # at most in an answer
ITEMS = 100_000  # at most in the arrays of an answer, all together
FRESH_SECONDS = 0.5  # an answer serves everybody who asks within this time
_NUMBERS = frozenset({"double", "float", "int", "long"})


class Newest:
    """Answers with one stream's newest readings. One reader is open at a time, since a page shows one stream."""

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        self._lock = threading.Lock()
        self._stream = ""
        self._reader: Reader | None = None
        self._open = ExitStack()
        self._answer: dict[str, Any] = {}
        self._answered = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with self._lock:
            self._open.close()

    def answer(self, query: dict[str, str]) -> dict[str, Any]:
        """{"fields": [{name, unit, numeric}], "readings": [...]} of ?stream=NAME, oldest first; times in ISO 8601.

        ConfigError for a stream that there isn't, TransientError when Kafka or the registry is away.
        """
        stream = query.get("stream", "")
        if stream not in self._cfg.streams:
            raise ConfigError(f"no stream {stream!r}; there are: {', '.join(self._cfg.streams)}")
        with self._lock:
            if stream == self._stream and time.monotonic() - self._answered < FRESH_SECONDS:
                return self._answer
            try:
                self._answer = self._read(stream)
            except Exception:
                self._open.close()
                self._stream = ""
                raise
            self._answered = time.monotonic()
            return self._answer

    def _read(self, stream: str) -> dict[str, Any]:
        contract = find(self._cfg.contract_of(stream), self._cfg.contracts)
        if stream != self._stream or self._reader is None:
            self._open.close()
            self._reader = self._open.enter_context(Reader(self._cfg, resolve(self._cfg, stream)))
            self._stream = stream
        readings: list[dict[str, Any]] = []
        items = 0
        for record in reversed(self._reader.latest(READINGS)):
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
