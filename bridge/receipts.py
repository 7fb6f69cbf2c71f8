"""Receipts: what the bridge tells a device about its message once all that it became is in Kafka.

A device asks with MQTT 5's Response Topic, or its route has a receipt topic. The answer is made when the message comes,
for all is known by then but the time, and leaves with the message's PUBACK.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from headrace import receipts, wire
from headrace.filters import Filter
from headrace.metrics import BRIDGE_RECEIPTS
from headrace.mqtt import PublishPacket, publish
from headrace.wire import Headers

log = logging.getLogger(__name__)

Marks = tuple[tuple[str, tuple[str, ...]], ...]  # the fields that tell a device's readings apart, each with its keys

_MAX_DETAIL = 200  # characters
_MAX_MARK = 64  # characters of a field that is echoed
_LOG_SECONDS = 60.0  # between two lines about requests that are refused


class Standing(NamedTuple):
    """The receipt that a route's configuration asks for, for each message of an MQTT topic."""

    topic: str
    marks: Marks


class Fate(NamedTuple):
    """What a message became: readings, and letters, of which these are the headers."""

    readings: int
    letters: Sequence[Headers]


class Desk:
    """Answers requests for receipts.

    They may go to topics that begin with `prefix` (empty: to none), and not to those that the bridge reads.
    """

    def __init__(self, prefix: str, read: Iterable[Filter], clock: Callable[[], float] = time.monotonic) -> None:
        self._prefix = prefix
        self._read = tuple(read)
        self._clock = clock
        self._logged = -_LOG_SECONDS

    def answer(self, packet: PublishPacket, name: bytes, standing: Standing | None, fate: Fate) -> bytes:
        """The PUBLISH to be sent once the message is in Kafka; empty where what was asked for is refused.

        `name` is the topic that the message came by.
        """
        body: dict[str, Any] = _told(fate, packet)
        body["id"] = wire.event_ids(name, packet.payload, 1)[0].hex()
        body["crc32"] = f"{crc32(packet.payload):08x}"
        topic, correlation = packet.response_topic, packet.correlation_data
        if topic is not None:
            if self._may_go_to(topic) and len(correlation or b"") <= receipts.MAX_CORRELATION:
                return publish(topic, orjson.dumps(body), correlation)
            self._refuse(topic, name)
        if standing is None:
            return b""
        if marks := _marks(packet.payload, standing.marks):
            body["reading"] = marks
        return publish(standing.topic, orjson.dumps(body), None)

    def _may_go_to(self, topic: str) -> bool:
        return receipts.allowed(topic, self._prefix) and not any(f.matches(topic) for f in self._read)

    def _refuse(self, topic: str, name: bytes) -> None:
        BRIDGE_RECEIPTS.labels("refused").inc()
        now = self._clock()
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            log.warning(
                "a receipt was asked for in a way that is refused: see bridge.receipts",
                extra={
                    "response_topic": topic[: receipts.MAX_TOPIC],
                    "mqtt_topic": name[: receipts.MAX_TOPIC].decode(errors="replace"),
                    "allowed": f"{self._prefix}..." if self._prefix else "none",
                    "most_correlation_bytes": receipts.MAX_CORRELATION,
                },
            )


def _told(fate: Fate, packet: PublishPacket) -> dict[str, Any]:
    body: dict[str, Any] = {"status": "stored", "readings": fate.readings, "dead_letters": len(fate.letters)}
    if fate.letters:
        letter = dict(reversed(fate.letters[0]))  # of two headers of a name the first is the letter's own
        body["status"] = "dead-letter"
        for key in ("reason", "field", "detail"):
            if text := letter.get(key, b"").decode()[:_MAX_DETAIL]:
                body[key] = text
    elif not fate.readings:
        body["status"] = "skipped"
        body["reason"] = "empty" if packet.payload else "tombstone"
    return body


def _marks(payload: bytes, marks: Marks) -> dict[str, Any]:
    """What the payload says in the fields that tell readings apart; for an array, in its first element."""
    try:
        found = orjson.loads(payload)
    except ValueError:
        return {}
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return {}
    values = {name: next((found[k] for k in keys if k in found), None) for name, keys in marks}
    return {name: v for name, v in values.items() if isinstance(v, int | float | str) and len(str(v)) <= _MAX_MARK}
