"""Formats by content type: which decoder reads a message, and that a dead letter is read by the same one again."""

import json
from typing import Any

import cbor2
import orjson
import pytest

from bridge.decoders.base import Refused, Source
from bridge.decoders.choice import Choice
from bridge.ingest import messages
from bridge.redrive.again import Again
from headrace.config import Config
from headrace.contracts.files import find
from headrace.deadletters import ReadLetter
from headrace.errors import Reason
from headrace.protocol import mediatypes, wire
from tests.unit.intake_world import ROW, Packet, World, dumps

TOPIC = "sensors/w/imu"
ROUTE: dict[str, Any] = {
    "filter": "sensors/{device_id}/imu",
    "format": "json",
    "content_types": {"application/cbor": "cbor", "Application/VND.Acme+CBOR": "cbor"},
}


def world(**change: Any) -> World:
    return World(streams={"imu": {"routes": [{**ROUTE, **change}]}})


def cbor(**change: Any) -> bytes:
    return cbor2.dumps({**ROW, **change})


@pytest.mark.parametrize(
    ("content_type", "payload"),
    [
        (None, dumps()),
        ("", dumps()),
        ("application/json", dumps()),
        ("Application/JSON; charset=utf-8", dumps()),
        ("application/cbor", cbor()),
        (" APPLICATION/CBOR ;x=1", cbor()),
        ("application/vnd.acme+cbor", cbor()),
    ],
)
def test_the_content_type_says_which_decoder_reads_the_payload(content_type: str | None, payload: bytes) -> None:
    it = world()
    plain = it.take(Packet(TOPIC, dumps()))[0]
    (record,) = it.take(Packet(TOPIC, payload, content_type=content_type))
    assert (record.topic, record.value) == ("imu.raw", plain.value)
    assert wire.MQTT_CONTENT_TYPE not in record.headers


def test_a_topic_is_remembered_by_content_type_so_that_the_next_message_is_read_by_its_own() -> None:
    it = world()
    first, second, third = it.take(
        Packet(TOPIC, cbor(), content_type="application/cbor"),
        Packet(TOPIC, dumps()),
        Packet(TOPIC, cbor(), content_type="application/cbor"),
    )
    assert first.value == second.value == third.value
    assert it.intake._lanes.topics == {}  # these would be looked up without the content type


def test_a_route_without_content_types_ignores_them_and_its_topic_is_looked_up_by_name_alone() -> None:
    it = World()
    (record,) = it.take(Packet(TOPIC, dumps(), content_type="application/cbor"))
    assert record.topic == "imu.raw"
    assert list(it.intake._lanes.topics) == [TOPIC]


def test_an_unknown_content_type_is_a_dead_letter_that_says_what_to_add() -> None:
    (letter,) = world().take(Packet(TOPIC, b"\x81", content_type="application/msgpack; v=2"))
    assert (letter.topic, letter.value) == ("dead-letters", b"\x81")
    assert letter.headers["reason"] == b"malformed"
    assert letter.headers["detail"].decode() == (
        "the route has no format for the content type 'application/msgpack'. It has application/cbor, "
        "application/json, application/vnd.acme+cbor, text/json. Add content_types: {application/msgpack: msgpack}, or "
        "have the device send one of those"
    )
    assert letter.headers[wire.MQTT_CONTENT_TYPE] == b"application/msgpack; v=2"


def test_a_content_type_of_no_sense_is_kept_up_to_a_length() -> None:
    (letter,) = world().take(Packet(TOPIC, b"1", content_type="x" * 60_000))
    assert letter.headers[wire.MQTT_CONTENT_TYPE] == b"x" * 255
    assert len(letter.headers["detail"]) < 400


def again(route: dict[str, Any]) -> Again:
    config = Config.model_validate({"streams": {"imu": {"routes": [route]}}})
    from bridge import routing

    return Again(routing.build(config), {"imu": find("imu", ())}, {"imu": 7}, {"imu": 65_536}, lambda _: "")


def test_a_dead_letter_is_read_again_by_its_content_type_even_if_the_route_did_not_look_at_it_then() -> None:
    (letter,) = World().take(Packet(TOPIC, cbor(), content_type="application/cbor"))
    assert letter.topic == "dead-letters"
    read = ReadLetter(letter.key, letter.value, letter.headers, 0, 0, 1)
    assert again({"filter": ROUTE["filter"]}).judge(read, letter.value, 1).refused is not None
    (record,) = again(ROUTE).judge(read, letter.value, 1).records
    assert record.value == world().take(Packet(TOPIC, dumps()))[0].value


def test_a_dead_letter_with_a_long_content_type_is_not_read_again_as_if_it_had_none() -> None:
    said = {"x" * 300: dumps(), f"application/cbor; x={'y' * 300}": cbor(ax="x")}
    letters = [world().take(Packet(TOPIC, value, content_type=it))[0] for it, value in said.items()]
    first, second = [ReadLetter(it.key, it.value, it.headers, 0, 0, 1) for it in letters]
    refused = again(ROUTE).judge(first, first.value, 1).refused
    assert refused is not None
    assert "no format for the content type" in str(refused)
    assert len(again(ROUTE).judge(second, cbor(), 1).records) == 1, "mended"


def test_a_part_that_is_refused_again_keeps_the_content_type_for_the_next_time() -> None:
    (letter,) = World().take(Packet(TOPIC, cbor2.dumps([ROW, {**ROW, "ax": "x"}]), content_type="application/cbor"))
    read = ReadLetter(letter.key, letter.value, letter.headers, 0, 0, 1)
    outcome = again(ROUTE).judge(read, letter.value, 1)
    assert len(outcome.records) == 1
    (newer,) = outcome.letters
    assert dict(newer.headers)[wire.MQTT_CONTENT_TYPE] == b"application/cbor"


def test_each_format_has_its_own_settings_and_text_is_taken_for_numbers_where_the_format_has_text_only() -> None:
    names = list(ROW)
    csv = {"columns": names, "decimal_comma": True, "delimiter": ";"}
    it = world(content_types={"text/csv": "csv", "application/senml+json": "senml"}, csv=csv)
    cells = ";".join("1,5" if name == "ax" else str(value) for name, value in ROW.items())
    senml = [{"n": name, "v": value} for name, value in ROW.items() if name != "event_time"]
    got, same, other = it.take(
        Packet(TOPIC, cells.encode(), content_type="text/csv"),
        Packet(TOPIC, dumps(ax=1.5)),
        Packet(TOPIC, json.dumps([{"bt": 1.7e9}, *senml]).encode(), content_type="application/senml+json"),
    )
    assert [it.topic for it in (got, same, other)] == ["imu.raw"] * 3
    assert got.value == same.value
    assert other.value == it.take(Packet(TOPIC, dumps()))[0].value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"content_types": {"text/csv; header=present": "csv"}}, "without parameters"),
        ({"content_types": {" ": "csv"}}, "a type such as application/cbor"),
        ({"content_types": {"text/plain": "value"}}, "value has no other formats"),
        ({"content_types": {"a/b": "sparkplug"}}, "sparkplug has no other formats"),
        ({"content_types": {"application/protobuf": "protobuf"}}, "format protobuf needs settings"),
        ({"content_types": {"a/b": "yaml"}}, "yaml"),
        ({"avro": {"file": "x.avsc"}}, "avro: settings of another format"),
        ({"explode": "list"}, "explode is for payloads of format json"),
        ({"content_types": {"a/b": "senml"}, "fields": {"event_time": "t"}}, "SenML say their time"),
    ],
)
def test_what_can_not_be_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        world(**change)


def test_the_payloads_of_our_own_commands_have_no_content_type_and_find_the_route() -> None:
    stream = world().config.streams["imu"]
    assert stream.json_route is stream.routes[0]
    assert world(format="cbor", content_types={"application/json": "json"}).config.streams["imu"].json_route is None


def test_over_http_the_content_type_is_that_of_the_payloads() -> None:
    def types(topic: str, media: str, body: bytes) -> set[str]:
        return {m.content_type for m in messages.read(topic, media, body).messages}

    assert types(TOPIC, "application/cbor", b"\x80") == {"application/cbor"}
    assert types(TOPIC, "", b"{}") == types(TOPIC, "application/x-www-form-urlencoded", b"{}") == {""}
    assert types(TOPIC, "application/x-ndjson", b"{}\n{}") == {"application/json"}
    assert types("", "", orjson.dumps({"topic": TOPIC, "payload": {}})) == {"application/json"}


def test_a_guess_goes_by_the_usual_types_and_by_suffixes() -> None:
    found = {name: mediatypes.guess(name) for name in ("text/csv", "application/vnd.x+json", "a/b+cbor", "image/png")}
    assert found == {"text/csv": "csv", "application/vnd.x+json": "json", "a/b+cbor": "cbor", "image/png": ""}


def test_without_other_formats_a_choice_has_one_decoder_for_all() -> None:
    made = world().intake._lanes._decoders["streams.imu.routes[0].filter"]
    assert isinstance(made, Choice)
    assert made.of("") is made.of("application/json")
    assert made.of("application/cbor") is made.of("application/vnd.acme+cbor") is not made.of("")
    (found,) = made.of("image/png").decode(b"x", Source(), 0)
    assert isinstance(found, Refused)
    assert (found.error.reason, found.error.value) == (Reason.MALFORMED, "image/png")
