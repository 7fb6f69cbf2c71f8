"""Something that expires and is fetched anew before it does, even when its issuer is slow, silent or away."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from headrace.errors import TransientError

log = logging.getLogger(__name__)
T = TypeVar("T")

_AGAIN_SECONDS = 15.0  # between two attempts, while the old one serves
_QUICK_SECONDS = 1.0  # to wait for a fetch, while the old one serves
_HUNG_SECONDS = 60.0  # after the time-out: a fetch then counts as lost, and another may begin


class Renewed(Generic[T]):
    """One thing that expires, such as a token. Any thread may call `get`.

    While `fresh` is true it is returned at once. While only `serves` is true, one caller at a time fetches it anew:
    this caller waits a second at most, the others do not wait, and a failure is only logged. When `serves` is false
    too, callers wait for a new one, `seconds` at most.
    """

    def __init__(
        self, what: str, fetch: Callable[[], T], fresh: Callable[[T], bool], serves: Callable[[T], bool], seconds: float
    ) -> None:
        """`what` names it in errors. `fetch` raises HeadraceError; it runs on a thread of its own, and may hang."""
        self._what, self._fetch, self._fresh, self._serves, self._seconds = what, fetch, fresh, serves, seconds
        self._lock = threading.Lock()
        self._known: T | None = None
        self._coming: Future[T] | None = None
        self._lost_at = self._again = 0.0

    def get(self) -> T:
        """The thing, valid for some time yet. Raises what `fetch` raises; TransientError when it takes too long."""
        with self._lock:
            known, now = self._known, time.monotonic()
            if known is not None and self._fresh(known):
                return known
            old = known if known is not None and self._serves(known) else None
            coming = self._coming if self._coming is not None and now < self._lost_at else None
            if old is not None and (coming is not None or now < self._again):
                return old
            coming = coming or self._begin(now)
        try:
            return coming.result(self._seconds if old is None else _QUICK_SECONDS)
        except Exception as e:
            if old is not None:
                return old
            if not isinstance(e, TimeoutError):
                raise
        raise TransientError(f"{self._what}: no answer in {self._seconds:g} s. Start it, or correct its address")

    def _begin(self, now: float) -> "Future[T]":
        coming = self._coming = Future[T]()
        self._lost_at, self._again = now + self._seconds + _HUNG_SECONDS, now + _AGAIN_SECONDS
        threading.Thread(target=self._run, args=(coming,), name=self._what, daemon=True).start()
        return coming

    def _run(self, coming: "Future[T]") -> None:
        try:
            found = self._fetch()
        except Exception as e:  # noqa: BLE001 - the waiting caller gets it
            if self._known is not None:
                log.warning("not renewed", extra={"what": self._what, "error": str(e)})
            self._done(coming)
            coming.set_exception(e)
        else:
            self._known = found
            self._done(coming)
            coming.set_result(found)

    def _done(self, coming: "Future[T]") -> None:
        with self._lock:
            if self._coming is coming:
                self._coming = None
