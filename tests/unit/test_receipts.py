"""Receipts: where they may go, and what they say."""

import json
from typing import Any
from zlib import crc32

import orjson
import pytest
from mqtt5 import PublishPacket, QoS, read

from bridge.decoders.json.decoder import JsonDecoder
from bridge.receipts import Fate, ReceiptDesk, StandingReceipt
from headrace.config import Config
from headrace.config.routes import receipt_problems
from headrace.contracts.model import parse
from headrace.protocol import filters, receipts, wire
from headrace.runtime.metrics import BRIDGE_RECEIPTS

TOPIC = b"sensors/w/imu"
PAYLOAD = b'{"ax":1}'
FIELDS = [
    {"name": "device_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}, "aliases": ["ts"]},
    {"name": "sequence", "type": ["null", "long"], "default": None, "role": "sequence"},
    {"name": "boot_id", "type": ["null", "string"], "default": None, "role": "boot"},
    {"name": "_quality", "type": ["null", "string"], "default": None},
]
CONTRACT = parse("imu", json.dumps({"type": "record", "name": "imu", "fields": FIELDS}))
MARKS = JsonDecoder(CONTRACT, 1).marks
LETTER = [("reason", b"wrong_type"), ("field", b"ax"), ("detail", b"ax: a number expected"), ("reason", b"not this")]


def asking(
    payload: bytes = b"{}", topic: str | None = "receipts/w", correlation: bytes | None = b"\0\x01"
) -> PublishPacket:
    plain = None if topic is None else topic.replace("#", "x").replace("+", "x")  # the codec makes no other one
    packet = PublishPacket(
        TOPIC.decode(), payload, qos=QoS.AT_LEAST_ONCE, packet_id=1, response_topic=plain, correlation_data=correlation
    )
    if not topic:
        return packet
    found, _ = read(memoryview(packet.write().replace((plain or "").encode(), topic.encode())))
    assert isinstance(found, PublishPacket)
    assert found.response_topic == topic
    return found


def desk(prefix: str = "receipts/", *filter_: str) -> ReceiptDesk:
    return ReceiptDesk(prefix, [filters.parse(f, "x") for f in (*filter_, "sensors/#")])


def sent(packet: bytes) -> PublishPacket:
    found, size = read(memoryview(packet))
    assert isinstance(found, PublishPacket)
    assert size == len(packet)
    assert (found.qos, found.retain, found.packet_id) == (QoS.AT_MOST_ONCE, False, None)
    return found


def body(fate: Fate, payload: bytes = b"{}") -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(sent(desk().answer(asking(payload), TOPIC, "w", None, fate)).payload)
    return found


def refused() -> float:
    return float(BRIDGE_RECEIPTS.labels("refused")._value.get())


def test_a_receipt_goes_where_it_was_asked_for_with_the_correlation_data() -> None:
    found = sent(desk().answer(asking(PAYLOAD), TOPIC, "w", None, Fate(1, [])))
    assert (found.topic, found.correlation_data) == ("receipts/w", b"\0\x01")
    assert orjson.loads(found.payload) == {
        "crc32": f"{crc32(PAYLOAD):08x}",
        "status": "stored",
        "readings": 1,
        "dead_letters": 0,
        "id": wire.event_ids(TOPIC, PAYLOAD, 1)[0].hex(),
    }
    assert sent(desk().answer(asking(correlation=None), TOPIC, "w", None, Fate(1, []))).correlation_data is None


def test_it_names_the_first_dead_letter_and_counts_the_rest() -> None:
    found = body(Fate(3, [LETTER, [("reason", b"malformed")]]))
    told = {k: found[k] for k in ("status", "readings", "dead_letters", "reason", "field", "detail")}
    assert told == {
        "status": "dead-letter", "readings": 3, "dead_letters": 2, "reason": "wrong_type", "field": "ax",
        "detail": "ax: a number expected",
    }  # fmt: skip
    assert len(body(Fate(0, [[("reason", b"malformed"), ("detail", b"x" * 1000)]]))["detail"]) == 200


def test_what_becomes_nothing_is_answered_too() -> None:
    found = body(Fate(0, [], "no_payload"))
    assert (found["status"], found["reason"]) == ("skipped", "no_payload")


@pytest.mark.parametrize(
    "topic",
    [
        "sensors/w/imu", "$SYS/broker", "receipts/", "receipts", "Receipts/w", "receipts/#", "receipts/+/w",
        "receipts/w/", "receipts//w", "receipts/w w", "receipts/\x01", "receipts/ü", "receipts/w\n", "receipts/w#", "",
        "receipts/w/" + "x" * 190, "receipts/w/2/3/4/5/6/7/8", "receipts/w/mine", "receipts/v", "receipts/v/w",
        "receipts/wx", "receipts/W",
    ],
)  # fmt: skip
def test_a_device_cannot_have_the_bridge_publish_elsewhere(topic: str) -> None:
    before = refused()
    assert desk("receipts/", "receipts/+/mine").answer(asking(topic=topic), TOPIC, "w", None, Fate(1, [])) == b""
    assert refused() == before + 1


def test_the_longest_and_deepest_topic_and_correlation_data_that_are_taken() -> None:
    for topic in ("receipts/w/" + "x" * 189, "receipts/w/2/3/4/5/6/7", "receipts/w/a.b:c@d~e-f_G9"):
        assert (
            sent(desk().answer(asking(topic=topic, correlation=b"x" * 256), TOPIC, "w", None, Fate(1, []))).topic
            == topic
        )
    before = refused()
    assert desk().answer(asking(correlation=b"x" * 257), TOPIC, "w", None, Fate(1, [])) == b""
    assert desk("").answer(asking(), TOPIC, "w", None, Fate(1, [])) == b"", "no prefix, no receipts"
    assert desk().answer(asking(topic="receipts/x"), TOPIC, "", None, Fate(1, [])) == b"", "nobody knows whose it is"
    assert refused() == before + 3


@pytest.mark.parametrize(
    ("payload", "reading"),
    [
        (b'{"ts":5,"sequence":17,"boot_id":"b","ax":1}', {"event_time": 5, "sequence": 17, "boot_id": "b"}),
        (b'[{"sequence":1},{"sequence":2}]', {"sequence": 1}),
        (b'{"boot_id":"%b","sequence":[1]}' % (b"x" * 65), None),
        (b"{", None), (b"[]", None), (b"7", None), (b"", None), (b'{"sequence":null}', None),
    ],
)  # fmt: skip
def test_a_route_s_receipt_says_what_tells_the_reading_from_others(payload: bytes, reading: object) -> None:
    standing = StandingReceipt("receipts/w", MARKS)
    found = sent(desk().answer(asking(payload, topic=None, correlation=None), TOPIC, "w", standing, Fate(1, [])))
    assert found.topic == "receipts/w"
    assert orjson.loads(found.payload).get("reading") == reading


def test_the_device_s_own_wish_comes_first_and_a_refused_one_falls_back_to_the_route_s() -> None:
    standing = StandingReceipt("receipts/route", MARKS)
    assert sent(desk().answer(asking(), TOPIC, "w", standing, Fate(1, []))).topic == "receipts/w"
    assert sent(desk().answer(asking(topic="a"), TOPIC, "w", standing, Fate(1, []))).topic == "receipts/route"


def problems(*routes: dict[str, str], **bridge: Any) -> list[str]:
    return list(receipt_problems(Config.model_validate({"streams": {"imu": {"routes": routes}}, "bridge": bridge})))


def test_configured_receipts_that_hold() -> None:
    assert problems({"filter": "s/{device_id}/imu", "receipt": "receipts/{device_id}"}, unrouted=["s/#"]) == []
    assert problems({"filter": "s/{site}/{device_id}", "receipt": "receipts/{device_id}/{site}"}) == []
    assert problems({"filter": "gw/{gw}/up", "identity": "gw", "receipt": "receipts/{gw}/x"}) == []
    assert problems({"filter": "#"}, receipts="") == []
    assert receipts.fill("receipts/{a}/{b}/x", {"a": "1", "b": "2"}) == "receipts/1/2/x"


@pytest.mark.parametrize(
    ("receipt", "why"),
    [
        ("receipts/{device}", "does not capture device"),
        ("sensors/{device_id}", "must begin with receipts/{device_id}"),
        ("receipts/{site}/{device_id}", "must begin with receipts/{device_id}"),
        ("receipts/{device_id}x", "can't be used"),
        ("receipts/a{device_id}", "can't be used"),
        ("receipts/{device_id}/imu", "read it back with the filter {site}/{device_id}/imu"),
        ("receipts/{device_id}/#", "8 levels"),
        ("receipts/#", "must begin with"),
        ("receipts/{device_id}/{site}/{device_id}", "twice"),
        ("receipts/{device_id}/{site}/" + "x" * 70, "200 bytes"),
    ],
)
def test_configured_receipts_that_do_not_hold(receipt: str, why: str) -> None:
    (problem,) = problems({"filter": "{site}/{device_id}/imu", "receipt": receipt})
    assert problem.startswith("streams.imu.routes[0].receipt: ")
    assert why in problem


def test_a_bridge_that_would_read_all_its_receipts_is_refused() -> None:
    assert "bridge.unrouted[0]: #" in problems({"filter": "s/+"}, unrouted=["#"])[0]
    assert "streams.imu.routes[0]: receipts/#" in problems({"filter": "receipts/#"})[0]
    assert "is empty" in problems({"filter": "s/+", "receipt": "receipts/x"}, receipts="")[0]


@pytest.mark.parametrize("prefix", ["receipts", "/", "a+/", "#/", "$SYS/", "a b/", "a/b/c/d/e/"])
def test_a_prefix_is_whole_levels(prefix: str) -> None:
    with pytest.raises(ValueError, match="receipts"):
        Config.model_validate({"bridge": {"receipts": prefix}})
