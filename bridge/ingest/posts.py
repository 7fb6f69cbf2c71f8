"""Messages that were posted, on their way to Kafka; and what is answered when everything that they became is there."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from bridge.become import Became, Becoming, Large
from bridge.delivery import Origin, Record
from bridge.ingest.logins import Login
from bridge.ingest.messages import Message, is_topic
from bridge.ingest.refusal import RefusedError
from bridge.intake import Shelf
from bridge.lanes import Lanes
from bridge.receipts import Fate, receipt
from headrace.config import Config
from headrace.deadletters import Letter
from headrace.protocol import wire
from headrace.protocol.names import raw_topic, stream_of

ANSWER_SECONDS = 10.0  # for Kafka to take what was posted
STALLED_SECONDS = 5.0  # without anything taken: Kafka is away
_AGAIN_SECONDS = 5.0
_TOLD = ("reason", "field", "detail")
_MOST_DETAIL = 200  # characters


class Producer(Protocol):
    """What is needed of `Delivery`, which says more."""

    moved: float

    def produce(self, link: Origin | None, ticket: int, records: Sequence[Record]) -> int:
        """Give records of one message to Kafka. Returns for how many there was room."""

    async def produce_waiting(self, link: Origin | None, ticket: int, record: Record) -> None:
        """The same, but wait for room."""

    def wake(self) -> None:
        """Say that something was produced."""

    def fail(self, error: Exception) -> None:
        """End the process with `error`."""


class Post:
    """The parts of one request that are not in Kafka yet: an Origin, as Delivery has it, with a single ticket."""

    def __init__(self, parts: int) -> None:
        self._left = parts
        self.done = asyncio.Event()

    @property
    def window(self) -> "Post":
        """Itself: it counts its parts."""
        return self

    def finish(self, ticket: int) -> None:  # noqa: ARG002 - there is one
        """A part is in Kafka."""
        self._left -= 1

    def acknowledge(self) -> None:
        """Wake who waits, if that was all."""
        if self._left <= 0:
            self.done.set()


class Posts:
    """Takes what devices post."""

    def __init__(self, config: Config, lanes: Lanes, delivery: Producer, shelf: Shelf) -> None:
        self._letters = config.dead_letters.topic
        self._lanes = lanes
        self._delivery = delivery
        self._shelf = shelf
        self._becoming = Becoming(config)

    def may(self, login: Login, topic: str) -> bool:
        """Whether the device or gateway may publish there: where the access file of the broker lets it."""
        return is_topic(topic) and any(
            s.filter.matches(topic) and s.identity(topic) == login.name and (login.gateway or not s.gateway)
            for s in self._lanes.routing.spoken
        )

    async def take(self, login: Login, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """What became of each, once all of it is in Kafka; of one that the device may not send, that it is refused.

        RefusedError (503): Kafka does not take it. Some of it may be stored: the same bytes once more do no harm where
        they tell readings apart.
        """
        if time.monotonic() - self._delivery.moved > STALLED_SECONDS:
            raise RefusedError(503, "Kafka is away. Nothing was stored: send it again later", _AGAIN_SECONDS)
        now = time.time_ns() // 1000
        begin = wire.BEGINS[wire.NOT_MQTT] + wire.stamp(now)
        answers, became = list[dict[str, Any]](), list[Became]()
        for message in messages:
            if not self.may(login, message.topic):
                words = (
                    f"{login.name} may not publish to {message.topic[:200]!r}: see `bridge/README.md`, who publishes"
                )
                answers.append({"status": "refused", "detail": words})
                continue
            name, kind = message.topic, message.content_type
            topic = self._lanes.topics.get(name) or self._lanes.find(name, kind)
            one = self._becoming.read(topic, topic.lanes, message, message.payload, now, begin)
            became.append(one)
            answers.append(told(one, topic.name, message.payload))
        await self._store(became)
        return answers

    async def _store(self, became: Iterable[Became]) -> None:
        records = [record for one in became for record in one.records]
        if not records:
            return
        post = Post(len(records))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                for record in records:
                    if isinstance(record, Large):
                        await self._shelve(post, record)
                    elif not self._delivery.produce(post, 0, (record,)):
                        raise BufferError
                self._delivery.wake()
                await post.done.wait()
        except BufferError:
            self._delivery.wake()
            raise RefusedError(503, "Kafka takes less than comes. Send it again later", _AGAIN_SECONDS) from None
        except TimeoutError:
            words = f"not stored in {ANSWER_SECONDS:.0f} s. It may be stored yet: send the same bytes again"
            raise RefusedError(503, words, _AGAIN_SECONDS) from None

    async def _shelve(self, post: Post, large: Large) -> None:
        async def then(letter: Letter) -> None:
            await self._delivery.produce_waiting(post, 0, Record(self._letters, *letter, large.counter))
            self._delivery.wake()

        await self._shelf.put(large.letter, then, self._delivery.fail)


def told(became: Became, name: bytes, payload: bytes) -> dict[str, Any]:
    """The receipt of a message, as over MQTT, with `each`: what became of each of its parts, by streams."""
    fate = Fate(len(became.records) - len(became.letters), became.letters, became.skipped)
    body = receipt(fate, name, payload)
    known = frozenset(wire.event_ids(name, payload, len(became.records)))
    body["each"] = [_part(record, known) for record in became.records]
    return body


def _part(record: Record | Large, known: frozenset[bytes]) -> dict[str, Any]:
    if isinstance(record, Record) and record.topic == raw_topic(stream_of(record.topic)):
        event_id = wire.provenance(record.headers).event_id or b""
        part: dict[str, Any] = {"stream": stream_of(record.topic), "status": "stored", "id": event_id.hex()}
        return part if event_id in known else {**part, "identified": False}
    headers = record.letter.headers if isinstance(record, Large) else record.headers
    first = dict(reversed(headers))  # of two headers of a name the first is the letter's own
    words = {key: text for key in _TOLD if (text := first.get(key, b"").decode()[:_MOST_DETAIL])}
    return {"stream": first.get("stream", b"").decode(), "status": "dead-letter", **words}
