"""Dead letters of the bridge: made, logged without flooding the log, and stored outside when too large for Kafka."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from bridge.decoders.base import Refused
from headrace import deadletters
from headrace.config import Config
from headrace.deadletters import Letter, MqttSource, Stage
from headrace.errors import PoisonError, TransientError
from headrace.protocol.wire import Headers
from headrace.runtime.backoff import pauses
from headrace.store.base import ObjectStore
from headrace.store.open import open_store

log = logging.getLogger(__name__)

_LOG_SECONDS = 10.0  # between two lines about one stream and reason
_SHELVING = 4  # letters on their way to the object store at once


def make(refused: Refused, stream: str, source: MqttSource, headers: Headers, device: str = "") -> Letter:
    """The letter for what a stream's decoder refused; "": no stream. `headers`: those that the reading would have.

    `device`: who sent it, as far as topic and payload say.
    """
    return deadletters.letter(
        refused.error,
        refused.original,
        stage=Stage.BRIDGE,
        stream=stream,
        source=source,
        device=device,
        original=headers,
    )


class Log:
    """Logs the first letter of each stream and reason, then how many more there were, at most every ten seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[tuple[str, str], float] = {}
        self._held: dict[tuple[str, str], int] = {}

    def add(self, error: PoisonError, stream: str, mqtt_topic: str) -> None:
        """Log the dead letter, or count it for the next line."""
        key = (stream, error.reason.value)
        now = self._clock()
        if now - self._last.get(key, -_LOG_SECONDS) < _LOG_SECONDS:
            self._held[key] = self._held.get(key, 0) + 1
            return
        self._last[key] = now
        log.warning(
            "dead letter",
            extra={
                "stream": stream,
                "reason": error.reason.value,
                "detail": str(error)[:300],
                "mqtt_topic": mqtt_topic[:200],
                "more_since_last": self._held.pop(key, 0),
            },
        )


class Shelf:
    """Puts dead letters that are too large for Kafka into the object store, a few at a time."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._store: ObjectStore | None = None
        self._places = asyncio.Semaphore(_SHELVING)
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(
        self, letter: Letter, then: Callable[[Letter], Awaitable[None]], failed: Callable[[Exception], None]
    ) -> None:
        """Begin to store a letter; waits while too many are under way. `then` gets the letter that points to it.

        While the store is away, tries again until it is back. `failed` gets an error that only a person can mend.
        """
        await self._places.acquire()
        task = asyncio.create_task(self._shelve(letter, then, failed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _shelve(
        self, letter: Letter, then: Callable[[Letter], Awaitable[None]], failed: Callable[[Exception], None]
    ) -> None:
        try:
            await then(await self._stored(letter))
        except Exception as e:  # noqa: BLE001 - ends the bridge
            failed(e)
        finally:
            self._places.release()

    async def _stored(self, letter: Letter) -> Letter:
        for pause in pauses():
            try:
                return await asyncio.to_thread(self._store_now, letter)
            except TransientError as e:
                log.warning("a large dead letter waits for the object store", extra={"error": str(e)})
                await asyncio.sleep(pause)
        raise AssertionError("the pauses never end")

    def _store_now(self, letter: Letter) -> Letter:
        if self._store is None:
            self._store = open_store(self._config.store)
        return deadletters.shelve(self._config, letter, self._store.put)

    async def idle(self) -> None:
        """Wait until no letter is on its way to the store."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Drop the letters that are under way: their messages were not acknowledged, and will come again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
