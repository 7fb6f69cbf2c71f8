"""Receipts: what the bridge tells a device about its message when everything that it became is in Kafka.

A device asks for one with MQTT 5's Response Topic, or its route has a receipt topic. The receipt is made when the
message comes, since everything but the time is known then. It leaves with the message's PUBACK.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from headrace.mqtt import PublishPacket, publish
from headrace.protocol import receipts, wire
from headrace.protocol.filters import Filter
from headrace.protocol.wire import Headers
from headrace.runtime.metrics import BRIDGE_RECEIPTS

log = logging.getLogger(__name__)

Marks = Callable[[bytes], Mapping[str, Any]]  # as `Decoder.marks`

_MAX_DETAIL = 200  # characters
_MAX_MARK = 64  # characters of a field that is echoed
_LOG_SECONDS = 60.0  # between two lines about requests that are refused


class StandingReceipt(NamedTuple):
    """The receipt that a route's configuration asks for, for each message of an MQTT topic."""

    topic: str
    marks: Marks


class Fate(NamedTuple):
    """What a message became: a count of readings, the headers of its dead letters, or why it became nothing."""

    readings: int
    letters: Sequence[Headers]
    skipped: str = ""
    asked: bytes = b""  # as `wire.event_ids` has it


class ReceiptDesk:
    """Answers requests for receipts.

    They may go to topics that begin with `prefix` (empty: to none) and the identity that published the message, which
    no other identity can read, and not to those that the bridge reads.
    """

    def __init__(self, prefix: str, read: Iterable[Filter]) -> None:
        self._prefix = prefix
        self._read = tuple(read)
        self._logged = -_LOG_SECONDS

    def answer(
        self, packet: PublishPacket, name: bytes, identity: str, standing: StandingReceipt | None, fate: Fate
    ) -> bytes:
        """The PUBLISH to send once the message is in Kafka; empty when what the device asked for is refused.

        `name`: the topic that the message came by. `identity`: who published it, as the topic says; empty: unknown.
        """
        body = receipt(fate, name, packet.payload)
        topic, correlation = packet.response_topic, packet.correlation_data
        if topic is not None:
            if self._may_go_to(topic, identity) and len(correlation or b"") <= receipts.MAX_CORRELATION:
                return publish(topic, orjson.dumps(body), correlation)
            self._refuse(topic, name, identity)
        if standing is None:
            return b""
        if marks := _marks(standing, packet.payload):
            body["reading"] = marks
        return publish(standing.topic, orjson.dumps(body), None)

    def _may_go_to(self, topic: str, identity: str) -> bool:
        return receipts.allowed(topic, self._prefix, identity) and not any(f.matches(topic) for f in self._read)

    def _refuse(self, topic: str, name: bytes, identity: str) -> None:
        BRIDGE_RECEIPTS.labels("refused").inc()
        now = time.monotonic()
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            log.warning(
                "a request for a receipt was refused: see bridge.receipts",
                extra={
                    "response_topic": topic[: receipts.MAX_TOPIC],
                    "mqtt_topic": name[: receipts.MAX_TOPIC].decode(errors="replace"),
                    "allowed": f"{self._prefix}{identity}/..." if self._prefix and identity else "none",
                    "most_correlation_bytes": receipts.MAX_CORRELATION,
                },
            )


def receipt(fate: Fate, name: bytes, payload: bytes) -> dict[str, Any]:
    """What is told of a payload that came by the topic `name`: what became of it, its id and its CRC."""
    body: dict[str, Any] = {"status": "stored", "readings": fate.readings, "dead_letters": len(fate.letters)}
    if fate.letters:
        letter = dict(reversed(fate.letters[0]))  # of two headers of a name the first is the letter's own
        body["status"] = "dead-letter"
        for key in ("reason", "field", "detail"):
            if text := letter.get(key, b"").decode()[:_MAX_DETAIL]:
                body[key] = text
    elif not fate.readings:
        body["status"] = "skipped"
        body["reason"] = fate.skipped
    body["id"] = wire.event_ids(name, payload, 1, fate.asked)[0].hex()
    body["crc32"] = f"{crc32(payload):08x}"
    return body


def _marks(standing: StandingReceipt, payload: bytes) -> dict[str, Any]:
    """Those that are numbers or short texts: a receipt is small whatever the device sends.

    None of them if the decoder fails: what the payload became is known without them.
    """
    try:
        return {name: v for name, v in standing.marks(payload).items() if _is_short(v)}
    except Exception:  # noqa: BLE001 - it would end the bridge for all devices
        return {}


def _is_short(v: Any) -> bool:
    if isinstance(v, int):
        return -(2**63) <= v < 2**63  # what JSON can have here, and far from what takes long to write
    return isinstance(v, float) or (isinstance(v, str) and len(v) <= _MAX_MARK)
