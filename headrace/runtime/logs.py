"""Structured logs: one event, one line. JSON for machines; plain words where a person looks at a terminal.

WARNING: something is wrong and no data is lost. ERROR: a person is needed.
"""

import logging
import sys
import time
from typing import Any

import orjson

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}
# Libraries that log each request or each attempt, where our own log has a line for the whole.
_CHATTY = {
    "alembic": logging.WARNING,
    "uvicorn": logging.WARNING,
    "httpx": logging.WARNING,
    "httpx2": logging.WARNING,
    "urllib3": logging.ERROR,
}


def setup(service: str, level: int = logging.INFO) -> None:
    """Send the root logger to standard error, naming the service in each line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Words() if sys.stderr.isatty() else _Json(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _CHATTY.items():
        logging.getLogger(name).setLevel(least)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    out = {k: v for k, v in vars(record).items() if k not in _STANDARD}
    if record.exc_info and record.exc_info[1] is not None:
        out["error"] = "".join(logging.Formatter().formatException(record.exc_info))
    return out


def _when(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


class _Json(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _when(record),
            "level": record.levelname,
            "service": self._service,
            "event": record.getMessage(),
            **_fields(record),
        }
        return orjson.dumps(line, default=str).decode()


class _Words(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{k}={v}" for k, v in _fields(record).items())
        return f"{_when(record)[11:19]} {record.levelname:7} {record.getMessage()}{'  ' if fields else ''}{fields}"
