"""What hub refuses, and the HTTP status that says why."""

from typing import Any


class RefusedError(Exception):
    """A request that is not fulfilled. Nothing was changed. `more` goes into the answer beside the message."""

    def __init__(self, status: int, message: str, more: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status, self.more = status, more or {}
