"""The ways that messages take: for each MQTT topic its lanes, one for each stream that the topic feeds."""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from prometheus_client import Counter

from bridge.decoders.base import Births, Decoder, Found, Reading, Refused, Source
from bridge.decoders.choice import Choice, passing, refusing
from bridge.receipts import StandingReceipt
from bridge.routing import Routing, Target, takes
from headrace.deadletters import Stage
from headrace.errors import PoisonError, Reason, TransientError
from headrace.protocol import mediatypes, receipts, sparkplug
from headrace.protocol.names import is_device_id, raw_topic
from headrace.protocol.sparkplug import Place
from headrace.runtime.metrics import BRIDGE_MESSAGES, BRIDGE_SKIPPED, DEAD_LETTERS

K = TypeVar("K")
_NONE: Mapping[str, str] = {}
log = logging.getLogger(__name__)

_DEFECT = (
    "the decoder failed on it, which is a defect of Headrace: the bridge's log says where. Report it. The letter can "
    "be sent again once that is mended"
)
_LOG_SECONDS = 60.0
_MAX_TOPICS = 50_000  # MQTT topics whose lanes are remembered
_MAX_REMEMBERED = 512  # characters of such a topic: 65,535 are allowed, and a device can make up more and more
_RECORD_MARGIN = 256  # bytes of a record beside its value and the MQTT topic: key, header and Kafka's own


class _Defects:
    """Logs where a decoder failed, with its stack; at most once a minute."""

    def __init__(self) -> None:
        self._told = -_LOG_SECONDS

    def tell(self, error: Exception, stream: str, size: int) -> None:
        now = time.monotonic()
        if now - self._told >= _LOG_SECONDS:
            self._told = now
            log.error("a decoder failed", extra={"stream": stream, "bytes": size}, exc_info=error)


_DEFECTS = _Defects()


@dataclass(frozen=True, slots=True)
class Lane:
    """A stream that an MQTT topic's messages go to, with all that is the same for each of them.

    A topic that no route takes has one lane, whose stream is "": its messages become dead letters.
    """

    stream: str
    topic: str  # `<stream>.raw`
    decoder: Decoder
    source: Source
    counter: Counter  # of its records
    limit: int = 0  # bytes of a reading's value
    subscription: int = 0  # the identifier of the one that brings its messages
    standing: StandingReceipt | None = None  # the receipt of each message, where the route has one
    asks: frozenset[str] = frozenset()  # the user properties that fill fields
    retained: bool = False  # whether copies that the broker had kept are readings too
    learns: bool = False  # whether what births of Sparkplug say counts

    def read(
        self,
        payload: bytes,
        received: int,
        properties: Mapping[str, str] = _NONE,
        births: Births | None = None,
    ) -> list[Found]:
        """As `Decoder.decode`; a reading that is too large for the `.raw` topic is refused. Raises nothing.

        A decoder that fails all the same has a defect. Its payload is a dead letter then: the message would end the
        bridge again each time the broker sent it, and with the bridge the readings of all devices.
        """
        try:
            source = self.source
            if self.asks or self.learns:
                source = source._replace(properties=properties, births=births if self.learns else source.births)
            found = self.decoder.decode(payload, source, received)
            for one in found:
                if type(one) is Reading and len(one.value) > self.limit:
                    return self._without_large(found, payload)
        except Exception as e:  # noqa: BLE001 - see above
            _DEFECTS.tell(e, self.stream, len(payload))
            return [Refused(PoisonError(Reason.MALFORMED, _DEFECT), payload)]
        return found

    def _without_large(self, found: list[Found], payload: bytes) -> list[Found]:
        for index, one in enumerate(found):
            if isinstance(one, Reading) and len(one.value) > self.limit:
                words = (
                    f"the reading has {len(one.value):,} bytes, {self.topic} takes {self.limit:,} (max_message_bytes)"
                )
                error = PoisonError(Reason.TOO_LARGE, words)
                error.device = one.device
                found[index] = Refused(error, original := self.decoder.element(payload, index))
                if original == payload:  # it can't be split, and its other readings would come again
                    return [found[index]]
        return found


class Topic(NamedTuple):
    """What is remembered of an MQTT topic."""

    text: str
    name: bytes
    lanes: tuple[Lane, ...]  # at least one
    asks: frozenset[str]  # the user properties that its lanes ask for
    copies: bool  # whether a message may come once for each of several subscriptions
    standing: StandingReceipt | None
    identity: str  # who published, as the topic says; empty: unknown
    place: Place | None = None  # of an edge node of Sparkplug from whose births is learnt


class Lanes:
    """Finds the lanes of MQTT topics, and remembers them.

    `topics` has those whose messages are all read alike. Where a route has formats by content type, `find` is asked for
    each message: so the others pay nothing for it.
    """

    def __init__(
        self,
        routing: Routing,
        decoders: Mapping[str, Choice],  # by `Route.where`
        raw_limits: Mapping[str, int],  # by stream: bytes of the largest record that its .raw topic takes
    ) -> None:
        self.routing = routing
        self.topics: dict[str, Topic] = {}
        self._typed: dict[tuple[str, str], Topic] = {}  # by topic and content type
        self._decoders = decoders
        self._raw_limits = raw_limits
        self._known = frozenset(s.identifier for s in routing.subscriptions)

    def find(self, text: str, content_type: str | None = None) -> Topic:
        """The topic `text`, for messages of this content type. TransientError: a broken packet has no topic."""
        if not text:
            raise TransientError("the MQTT broker sent a topic alias, though the bridge allows none")
        key = (text, content_type or "")
        known = self._typed.get(key)
        if known is not None:
            return known
        match = self.routing.match(text)
        name = text.encode()
        media = mediatypes.essence(content_type or "")
        lanes = tuple(self._lane(target, text, media) for target in match.targets)
        standing = next((lane.standing for lane in lanes if lane.standing is not None), None)
        copies = bool(lanes) and match.copies
        asks = frozenset(name for lane in lanes for name in lane.asks)
        place = sparkplug.place(text) if match.heard else None
        lanes = lanes or (_nowhere(text) if place is None else _heard(),)
        topic = Topic(text, name, lanes, asks, copies, standing, match.identity, place)
        if any(target.route.options.content_types for target in match.targets):
            _remember(self._typed, key, topic, sum(map(len, key)))
        else:
            _remember(self.topics, text, topic, len(text))
        return topic

    def _lane(self, target: Target, text: str, media: str) -> Lane:
        route, decoder = target.route, self._decoders[target.route.where].of(media)
        standing = None
        if route.options.receipt and all(is_device_id(value) for value in target.levels.values()):
            standing = StandingReceipt(receipts.fill(route.options.receipt, target.levels), decoder.marks)
        why = sparkplug.passed_over(text) if route.options.format == "sparkplug" else ""
        if why:
            decoder = passing(why)
        elif target.refused is not None:
            decoder = refusing(target.refused)
        return Lane(
            stream=route.stream,
            topic=raw_topic(route.stream),
            decoder=decoder,
            source=Source(target.captures, route.options.unknown_fields),
            counter=BRIDGE_MESSAGES.labels(route.stream),
            limit=self._raw_limits[route.stream] - _RECORD_MARGIN - len(text.encode()),
            subscription=route.subscription,
            asks=frozenset(it.property for it in route.options.fields.values() if it.property),
            standing=standing,
            retained=route.options.retained == "keep",
            learns=route.options.learns,
        )

    def own(self, topic: Topic, identifiers: Iterable[int]) -> tuple[Lane, ...]:
        """The lanes of a message that may be a copy: those that its own subscription brings."""
        return tuple(lane for lane in topic.lanes if takes(lane.subscription, identifiers, self._known))


def _remember(known: dict[K, Topic], key: K, topic: Topic, size: int) -> None:
    if len(known) >= _MAX_TOPICS:
        known.clear()
    if size <= _MAX_REMEMBERED:
        known[key] = topic


def _nowhere(text: str) -> Lane:
    words = f"no route takes the topic {text[:200]!r}. Add one, or narrow bridge.unrouted"
    error = PoisonError(Reason.NO_ROUTE, words)
    return Lane("", "", refusing(error), Source(), DEAD_LETTERS.labels(Stage.BRIDGE, "", error.reason.value))


def _heard() -> Lane:
    return Lane("", "", passing("heard"), Source(), BRIDGE_SKIPPED.labels("heard"))
