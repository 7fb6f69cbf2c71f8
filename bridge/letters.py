"""Dead letters of the bridge: made, logged without flooding the log, and stored outside where Kafka can't take them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from headrace import deadletters
from headrace.config import Config
from headrace.deadletters import Letter
from headrace.errors import PoisonError, TransientError
from headrace.store.base import ObjectStore
from headrace.store.open import open_store
from headrace.wire import Headers

log = logging.getLogger(__name__)

_LOG_SECONDS = 10.0  # between two lines about one stream and reason
_MAX_TOPIC = 4096  # characters of an MQTT topic in a letter: a letter's headers must fit any Kafka topic
_SHELVING = 4  # letters on their way to the object store at once
_FIRST_PAUSE, _LAST_PAUSE = 0.5, 15.0


def make(
    error: PoisonError, original: bytes, stream: str, mqtt_topic: str, index: int, payload_id: bytes, headers: Headers
) -> Letter:
    """The letter for the element `index` of a payload. `payload_id` tells the payload from every other of its topic.

    The same bytes on the same topic make the same key for a stream, so that a redelivered message counts once.
    """
    source: dict[str, str | int] = {"mqtt_topic": mqtt_topic[:_MAX_TOPIC], "index": index}
    return deadletters.letter(
        error,
        original,
        stage="bridge",
        stream=stream,
        source=source,
        identity=stream.encode() + b"\0" + payload_id,
        original=headers,
    )


class Log:
    """Says of each stream and reason the first letter, and then how many more there were, every ten seconds at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[tuple[str, str], float] = {}
        self._held: dict[tuple[str, str], int] = {}

    def add(self, error: PoisonError, stream: str, mqtt_topic: str) -> None:
        """A letter was made."""
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
    """Puts letters that no Kafka topic takes into the object store, a few at a time."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._store: ObjectStore | None = None
        self._places = asyncio.Semaphore(_SHELVING)
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(
        self, letter: Letter, then: Callable[[Letter], Awaitable[None]], failed: Callable[[Exception], None]
    ) -> None:
        """Begin to store a letter, waiting while too many are under way; `then` gets the one that points to it.

        A store that is away is tried until it is back. `failed` gets an error that only a person can mend.
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
        except Exception as e:  # noqa: BLE001 - handed to whoever runs the bridge
            failed(e)
        finally:
            self._places.release()

    async def _stored(self, letter: Letter) -> Letter:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await asyncio.to_thread(self._store_now, letter)
            except TransientError as e:
                log.warning("a large dead letter waits for the object store", extra={"error": str(e)})
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE)

    def _store_now(self, letter: Letter) -> Letter:
        if self._store is None:
            self._store = open_store(self._config.store)
        store = self._store

        def put(key: str, data: bytes) -> None:
            store.put(key, data)

        return deadletters.shelve(self._config, letter, put)

    async def idle(self) -> None:
        """Wait until none is on its way to the store."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Drop what is under way: its messages were not acknowledged and will come again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
