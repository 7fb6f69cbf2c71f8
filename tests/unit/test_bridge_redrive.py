import json
from dataclasses import replace
from typing import Any

import pytest

from bridge.decoders.base import Reading, Source
from bridge.decoders.json.decoder import JsonDecoder
from bridge.redrive.again import Again, Outcome
from bridge.routing import build
from headrace import deadletters
from headrace.config import Config
from headrace.contracts.model import Contract, parse
from headrace.deadletters import KafkaSource, Letter, MqttSource, ReadLetter, Stage, journal
from headrace.errors import PoisonError, Reason, TransientError
from headrace.protocol import wire
from headrace.protocol.wire import Headers
from processors.avro.codec import Codec

OLD, NEW = 7, 9
FIELDS: list[dict[str, Any]] = [
    {"name": "device_id", "type": "string"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "heat", "type": "double", "maximum": 50},
    {"name": "count", "type": ["null", "int"], "default": None},
    {"name": "_quality", "type": ["null", "string"], "default": None},
]
NEWER = [
    *FIELDS[:2],
    {"name": "warmth", "aliases": ["heat"], "type": "double", "maximum": 500},
    {"name": "count", "type": ["null", "long"], "default": None},
    {"name": "place", "type": "string", "default": "attic"},
    FIELDS[4],
]
ARRIVED = 1_700_000_000_000_000
HEADERS: Headers = [
    (wire.EVENT_ID, b"i" * 16), (wire.RECEIVED_AT, b"%d" % ARRIVED), (wire.MQTT_TOPIC, b"a/dev/heat"),
    (wire.MQTT_QOS, b"1"), (wire.MQTT_DUP, b"0"), (wire.MQTT_RETAIN, b"0"),
]  # fmt: skip
ERROR = PoisonError(Reason.OUT_OF_RANGE, "too hot")


def contract(fields: list[dict[str, Any]]) -> Contract:
    return parse("heat", json.dumps({"type": "record", "name": "heat", "fields": fields}))


def texts(number: int) -> str:
    if number != OLD:
        raise PoisonError(Reason.UNKNOWN_SCHEMA, "no such schema")
    return contract(FIELDS).text


def again(fields: list[dict[str, Any]] = NEWER, limit: int = 10_000, **streams: Any) -> Again:
    routes = {"heat": {"routes": ["a/{device_id}/heat"]}, **streams}
    config = Config.model_validate({"streams": routes})
    names = list(config.streams)
    contracts = {s: contract(fields) for s in names}
    heirs = {s: config.lineage(s) for s in names}
    return Again(build(config), contracts, dict.fromkeys(names, NEW), dict.fromkeys(names, limit), texts, heirs=heirs)


def read(made: Letter) -> ReadLetter:
    return ReadLetter(made.key, made.value, dict(made.headers), 0, 0, 1)


def cleaned(value: bytes, stream: str = "heat") -> ReadLetter:
    source = KafkaSource("heat.raw", "id", 0, 0, 5)
    return read(deadletters.letter(ERROR, value, stage=Stage.CLEAN, stream=stream, source=source, original=HEADERS))


def received(payload: bytes, stream: str = "heat", topic: str = "a/dev/heat") -> ReadLetter:
    headers = [(n, topic.encode() if n == wire.MQTT_TOPIC else v) for n, v in HEADERS]
    source = MqttSource(topic, 0, b"p" * 16)
    return read(deadletters.letter(ERROR, payload, stage=Stage.BRIDGE, stream=stream, source=source, original=headers))


def old_reading(**values: Any) -> bytes:
    row = {"device_id": "dev", "event_time": 5, "heat": 80.0, "count": 3, "_quality": "count:sentinel:null", **values}
    return Codec(contract(FIELDS).schema).write(OLD, row)


def judged(letter: ReadLetter, it: Again | None = None, number: int = 1) -> Outcome:
    return (it or again()).judge(letter, letter.value, number)


def rows(outcome: Outcome, fields: list[dict[str, Any]] = NEWER) -> list[dict[str, Any]]:
    return [Codec(contract(fields).schema).read(r.value) for r in outcome.records]


def test_what_cleaning_refused_is_written_anew_with_the_present_contract() -> None:
    letter = cleaned(old_reading())
    outcome = judged(letter)
    (record,) = outcome.records
    assert wire.schema_id(record.value) == NEW, "clean would judge it by the rules of the old one"
    expected = {"device_id": "dev", "event_time": 5, "warmth": 80.0, "count": 3, "place": "attic"}
    assert rows(outcome) == [{**expected, "_quality": "count:sentinel:null"}]
    assert (record.topic, record.key) == ("heat.raw", b"dev")
    assert [n for n, _ in record.headers] == [wire.PROVENANCE, journal.REDRIVE], "as clean finds it fastest"
    found = dict(wire.texts(record.headers))
    assert found[wire.EVENT_ID] == journal.event_id(letter.key, 1, "heat", 0) != b"i" * 16
    assert found[journal.REDRIVE] == letter.key.hex().encode() + b"/1"
    assert {n: found[n] for n, _ in HEADERS[1:]} == dict(HEADERS[1:])


def test_a_letter_of_any_time_can_be_judged() -> None:
    """Where the topic keeps the writer's times, anybody may write one: it must not end the redrive of the others."""
    letter = cleaned(old_reading())
    headers = {n: v for n, v in letter.headers.items() if n != wire.RECEIVED_AT}
    (record,) = judged(replace(letter, headers=headers, time_ms=2**63 - 1)).records
    assert wire.provenance(record.headers).received_at == 10**18
    (record,) = judged(replace(letter, headers=headers, time_ms=17)).records
    assert wire.provenance(record.headers).received_at == 17_000


def test_a_redrive_is_the_same_each_time_and_another_number_another_reading() -> None:
    letter = cleaned(old_reading())
    assert judged(letter) == judged(letter)
    assert judged(letter).records[0].event_id != judged(letter, number=2).records[0].event_id


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.MALFORMED),
        (b"{}", Reason.MALFORMED),
        (old_reading()[:-3], Reason.MALFORMED),
        (old_reading() + old_reading()[5:], Reason.MALFORMED),
        (wire.frame(55, old_reading()[5:]), Reason.UNKNOWN_SCHEMA),
        (old_reading(device_id="../x"), Reason.BAD_NAME),
        (old_reading(device_id="d" * 65), Reason.BAD_NAME),
    ],
)
def test_bytes_that_are_no_reading_stay_a_letter(value: bytes, reason: Reason) -> None:
    outcome = judged(cleaned(value))
    assert outcome.refused is not None
    assert (outcome.refused.reason, outcome.records, outcome.letters) == (reason, (), ())
    assert reason is not Reason.BAD_NAME or "Mend it: 1 to 64 letters" in str(outcome.refused)


def test_a_letter_of_a_stream_that_is_gone_or_too_large_for_its_topic_is_refused() -> None:
    for letter, it in ((cleaned(old_reading(), stream="gone"), None), (cleaned(old_reading()), again(limit=200))):
        assert judged(letter, it).refused is not None


def test_a_payload_is_decoded_by_the_present_contract_and_arrived_when_it_did() -> None:
    payload = b'{"warmth": 20, "place": "cellar"}'
    outcome = judged(received(payload))
    assert rows(outcome)[0]["event_time"] == ARRIVED
    decoder = JsonDecoder(contract(NEWER), NEW, ("device_id",))
    (by_bridge,) = decoder.decode(payload, Source({"device_id": "dev"}), ARRIVED)
    assert isinstance(by_bridge, Reading)
    assert outcome.records[0].value == by_bridge.value


def test_a_reading_that_somebody_has_mended_is_written_with_the_present_contract() -> None:
    letter = cleaned(old_reading(heat=999.0))
    text = b'{"device_id": "dev", "event_time": "1970-01-01T00:00:00.000005Z", "heat": 99.9, "count": null}'
    outcome = again().judge(letter, text, 1, is_reading=True)
    expected = {"device_id": "dev", "event_time": 5, "warmth": 99.9, "count": None, "place": "attic", "_quality": None}
    assert rows(outcome) == [expected]
    assert outcome.records[0].event_id == judged(letter).records[0].event_id, "one reading, mended or not"
    for wrong in (b"{", b"[]", b'{"device_id": "dev"}', b'{"device_id": "../x", "heat": 1}', b'{"heat": "hot"}'):
        assert again().judge(letter, wrong, 1, is_reading=True).refused is not None


def test_an_array_becomes_its_readings_and_a_letter_for_each_other_element() -> None:
    outcome = judged(received(b'[{"warmth": 1}, {"warmth": "hot"}, {"warmth": 3}]'))
    assert [r["warmth"] for r in rows(outcome)] == [1, 3]
    assert len({r.event_id for r in outcome.records}) == 2
    (letter,) = outcome.letters
    assert (letter.value, dict(letter.headers)["reason"]) == (b'{"warmth": "hot"}', b"wrong_type")
    assert journal.REDRIVE in dict(letter.headers)
    assert judged(received(b'[{"warmth": "hot"}, 3]')).refused is not None, "nothing of it became a reading"
    assert judged(received(b"[]")) == Outcome()


def test_a_plain_value_is_decoded_by_the_route_s_format() -> None:
    route = {"filter": "v/{device_id}/warmth", "format": "value", "field": "warmth"}
    it = again(heat={"routes": [route]})
    (row,) = rows(judged(received(b" 21.5\n", topic="v/dev/warmth"), it))
    assert (row["warmth"], row["place"], row["event_time"]) == (21.5, "attic", ARRIVED)
    refused = judged(received(b"21,5", topic="v/dev/warmth"), it).refused
    assert refused is not None
    assert refused.reason is Reason.WRONG_TYPE


def test_a_letter_goes_to_its_own_stream_and_one_without_a_stream_to_all_that_take_it() -> None:
    both = again(also={"routes": ["a/+/heat"]})
    payload = b'{"device_id": "dev", "warmth": 1}'
    assert [r.topic for r in judged(received(payload, "heat"), both).records] == ["heat.raw"]
    found = judged(received(payload, ""), both).records
    assert sorted(r.topic for r in found) == ["also.raw", "heat.raw"]
    assert len({r.event_id for r in found}) == 2


@pytest.mark.parametrize(("routes", "topics"), [(["a/{device_id}/heat"], ["heat.raw"]), ([], ["heat_v2.raw"])])
def test_a_letter_goes_to_the_stream_that_follows_its_own_only_where_that_does_not_take_it(
    routes: list[str], topics: list[str]
) -> None:
    """Where both take the topic, the one that follows had the message already."""
    both = again(heat={"routes": routes}, heat_v2={"routes": ["a/+/heat"], "follows": "heat"})
    assert [r.topic for r in judged(received(b'{"device_id": "dev", "warmth": 1}', "heat"), both).records] == topics


@pytest.mark.parametrize(("topic", "reason"), [("b/dev", Reason.NO_ROUTE), ("a/d.v/heat", Reason.BAD_NAME)])
def test_what_no_route_takes_stays_a_letter(topic: str, reason: Reason) -> None:
    outcome = judged(received(b'{"warmth": 1}', topic=topic))
    assert outcome.refused is not None
    assert outcome.refused.reason is reason


def test_a_registry_that_is_away_is_an_outage_and_refuses_nothing() -> None:
    def away(_: int) -> str:
        raise TransientError("away")

    config = Config.model_validate({"streams": {"heat": {"routes": ["a/{device_id}/heat"]}}})
    it = Again(build(config), {"heat": contract(NEWER)}, {"heat": NEW}, {"heat": 10_000}, away)
    with pytest.raises(TransientError):
        judged(cleaned(old_reading()), it)
