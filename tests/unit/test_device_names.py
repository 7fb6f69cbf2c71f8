"""What devices are called becomes ids: by rules that never make one id of two names, in topics and in payloads."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.config import Config
from headrace.config.routes import contract_problems, filter_problems, identity_problems
from headrace.errors import ConfigError, PoisonError, Reason
from headrace.protocol import joins
from headrace.protocol.devicenames import decoded, fitting, naming
from headrace.protocol.names import is_device_id
from tests.unit import mapping_world
from tests.unit.intake_world import Packet, Produced, World, dumps
from tests.unit.mapping_world import NOW, field

MAC = "FC:53:94:C3:7C:00"
ODD = st.text(st.sampled_from("_-x n2f0aA/ .é😀\0"), max_size=24)


@given(st.one_of(st.text(max_size=40), ODD, ODD.map("xn--".__add__)))
def test_a_name_can_be_told_from_its_id_so_no_two_have_the_same(name: str) -> None:
    try:
        found = naming("encode")(name)
    except PoisonError:
        if 0 < len(name) <= 6:
            raise
        return
    assert is_device_id(found)
    assert decoded(found) == name


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("watch-01", "watch-01"), ("living_room", "living_room"), ("Living Room", "Living__20Room"),
        ("kitchen/window", "kitchen__2fwindow"), ("a.b:c", "a__2eb__3ac"), ("Büro", "xn--Bro-hoa"),
        ("Büro Süd", "xn--Bro__20Sd-q9ah"), ("a__20b", "a__5f_20b"), ("xn--a", "__78n--a"), ("__", "__"),
    ],
)  # fmt: skip
def test_names_that_are_encoded_can_still_be_read(name: str, found: str) -> None:
    assert naming("encode")(name) == found


@given(st.binary(min_size=6, max_size=6) | st.binary(min_size=8, max_size=8), st.sampled_from(["", ":", "-", "."]))
def test_all_spellings_of_one_address_are_one_device_and_two_addresses_are_two(address: bytes, between: str) -> None:
    step = 4 if between == "." else 2
    text = address.hex()
    spelt = between.join(text[i : i + step] for i in range(0, len(text), step))
    assert {naming("mac")(spelt), naming("mac")(spelt.upper())} == {text}


@pytest.mark.parametrize("name", ["", "kitchen", "fc5394c37c0", "fc5394c37c001", ":fc5394c37c00", f"{MAC}:", "fc 53"])
def test_what_is_no_address_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(PoisonError, match="to encode, or to a table"):
        naming("mac")(name)


NAMES = st.text("ab _", min_size=1, max_size=3)


@given(st.dictionaries(NAMES, st.text("ab_", min_size=1, max_size=2)), st.lists(NAMES, min_size=2, max_size=9))
def test_a_table_never_makes_one_id_of_two_names(table: dict[str, str], names: list[str]) -> None:
    if len(set(table.values())) < len(table):
        with pytest.raises(ValidationError, match="have the same id"):
            routed({"filter": "a/{device_id}", "device": {"names": table}})
        return
    owners: dict[str, str] = {}
    for name in [*names, *table]:
        try:
            found = naming(table)(name)
        except PoisonError:
            found = f"refused {name}"
        assert found == table.get(name, found)
        assert owners.setdefault(found, name) == name


def test_the_rule_that_fits_is_the_one_that_changes_least() -> None:
    assert [fitting(names) for names in ([], ["a-1", "fc5394c37c00"], ["fc5394c37c00", MAC], [MAC, "a-1"])] == [
        "id", "id", "mac", "encode",
    ]  # fmt: skip


def test_a_table_says_which_name_is_missing_and_whose_id_it_is() -> None:
    table = {"Living Room": "living"}
    assert (naming(table)("Living Room"), naming(table)("hall")) == ("living", "hall")
    with pytest.raises(PoisonError, match="has no id for it"):
        naming(table)("Bed Room")
    with pytest.raises(PoisonError, match="gives to 'Living Room'"):
        naming(table)("living")
    with pytest.raises(ValidationError, match="Use 1 to 64"):
        routed({"filter": "a/{device_id}", "device": {"names": {"x": "a b"}}})


LEVELS = st.fixed_dictionaries(dict.fromkeys("abc", st.text("ab-/.", max_size=4)))


@given(st.sampled_from(["{a}-{b}", "{a}/{b}", "x{a}-.{b}-{c}y", "{a}"]), LEVELS, LEVELS)
def test_two_topics_never_join_to_one_text(template: str, one: dict[str, str], two: dict[str, str]) -> None:
    join = joins.parse(template, "abc", "x")
    try:
        texts = join.of(one), join.of(two)
    except PoisonError:
        return
    if any(one[name] != two[name] for name in join.names):
        assert texts[0] != texts[1]


def test_levels_without_the_text_between_them_join() -> None:
    join = joins.parse("{floor}-{room}", ("floor", "room"), "x")
    assert join.of({"floor": "1", "room": "a-b", "other": "?"}) == "1-a-b"
    with pytest.raises(PoisonError, match=r"another topic's too.* Join with a slash, which no level has"):
        join.of({"floor": "1-a", "room": "b"})


@pytest.mark.parametrize("text", ["", "floor", "{floor}{room}", "{floor}-{floor}", "{floor}/{x}", "{floor}/{", "{}"])
def test_templates_that_can_not_be_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^streams\.x: "):
        joins.parse(text, ("floor", "room"), "streams.x")


def routed(*routes: dict[str, Any]) -> Config:
    streams = {f"s{i}": {"contract": "imu", "routes": [route]} for i, route in enumerate(routes)}
    return Config.model_validate({"streams": streams, "bridge": {"receipts": "r/"}})


def problems(*routes: dict[str, Any]) -> list[str]:
    cfg = routed(*routes)
    return [*filter_problems(cfg), *identity_problems(cfg), *contract_problems(cfg)]


def intake(route: dict[str, Any]) -> World:
    assert problems(route) == []
    return World(streams={"imu": {"routes": [route]}})


def became(route: dict[str, Any], topic: str, **fields: Any) -> str:
    """The device's id, or the reason and the words of the dead letter."""
    (one,) = intake(route).take(Packet(topic, dumps(**fields)))
    return one.key.decode() if one.topic == "imu.raw" else letter(one)


def letter(one: Produced) -> str:
    return f"{one.headers['reason'].decode()}: {one.headers['detail'].decode()}"


# The topics of four systems in which one login publishes for many devices, as their documentation has them.
GATEWAYS = [
    # https://www.thethingsindustries.com/docs/integrations/other-integrations/mqtt/
    ({"filter": "v3/{application}/devices/{device_id}/up", "identity": "application"},
     "v3/orchard@ttn/devices/soil-07/up", {}, "soil-07"),
    ({"filter": "v3/{application}/devices/+/up", "identity": "application", "device": {"names": "mac"}},
     "v3/orchard@ttn/devices/soil-07/up", {"device_id": "0004A30B00AA0530"}, "0004a30b00aa0530"),
    # https://www.chirpstack.io/docs/chirpstack/integrations/mqtt.html
    ({"filter": "application/{application}/device/{device_id}/event/up", "identity": "application",
      "device": {"names": "mac"}},
     "application/17c82e96-0000-4000-8000-000000000002/device/01010101010101AA/event/up", {}, "01010101010101aa"),
    # https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html: friendly names may have spaces and slashes
    ({"filter": "{base}/{device_id}", "identity": "base", "device": {"names": "encode"}},
     "zigbee2mqtt/Living Room", {}, "Living__20Room"),
    ({"filter": "{base}/{room}/{thing}", "identity": "base", "device": {"topic": "{room}/{thing}", "names": "encode"}},
     "zigbee2mqtt/kitchen/window 2", {}, "kitchen__2fwindow__202"),
    ({"filter": "zigbee2mqtt/{device_id}", "device": {"names": {"Living Room": "living"}}},
     "zigbee2mqtt/Living Room", {}, "living"),
    # https://docs.ruuvi.com/gw-data-formats
    ({"filter": "ruuvi/{gateway}/{device_id}", "identity": "gateway", "device": {"names": "mac"}},
     f"ruuvi/C8:25:2D:AA:9C:2C/{MAC}", {}, "fc5394c37c00"),
]  # fmt: skip


@pytest.mark.parametrize(("route", "topic", "fields", "device"), GATEWAYS)
def test_many_devices_come_by_one_login(route: dict[str, Any], topic: str, fields: dict[str, Any], device: str) -> None:
    assert became(route, topic, **fields) == device


def test_without_a_rule_the_dead_letter_says_what_would_help() -> None:
    plain = {"filter": "ruuvi/{gateway}/{device_id}", "identity": "gateway"}
    assert "device: {names: mac}" in became(plain, f"ruuvi/hall/{MAC}")
    assert "device: {names: encode}" in became(plain, "ruuvi/hall/Living Room")
    inside = {"filter": "ruuvi/{gateway}/up", "identity": "gateway"}
    assert "device: {names: encode}" in became(inside, "ruuvi/hall/up", device_id="Living Room")


def test_topic_and_payload_may_spell_one_address_differently_and_must_not_name_two() -> None:
    route = {"filter": "ruuvi/{gateway}/{device_id}", "identity": "gateway", "device": {"names": "mac"}}
    assert became(route, f"ruuvi/hall/{MAC}", device_id="fc-53-94-c3-7c-00") == "fc5394c37c00"
    other = became(route, f"ruuvi/hall/{MAC}", device_id="FC:53:94:C3:7C:01")
    assert other.startswith("device_mismatch: device_id: the topic says fc5394c37c00, the payload 'FC:")


@pytest.mark.parametrize("topic", ["{device_id}", "{room}/{device_id}"])
def test_where_the_topic_alone_names_the_device_a_payload_s_key_is_any_other(tmp_path: Path, topic: str) -> None:
    names = "encode" if "room" in topic else "id"
    route = {"filter": "a/{gw}/{room}/{device_id}", "identity": "gw", "unknown_fields": "keep",
             "device": {"topic": topic, "names": names}}  # fmt: skip
    it = mapping_world.World(tmp_path, route, field("x"), field("room", "string"))
    device = "hall__2ft-1" if "room" in topic else "t-1"
    for said in (17, "AA:BB", "t-2", None):
        (row,) = it.rows("a/g/hall/t-1", {"device_id": said, "x": 1.5})
        assert (row["device_id"], row["x"], row["_extra"]) == (
            device,
            1.5,
            json.dumps({"device_id": said}, separators=(",", ":")),
        )
    (row,) = it.rows("a/g/hall/t-1", {"x": 1.5})
    assert (row["device_id"], row["x"], "_extra" in row) == (device, 1.5, False)
    (row,) = mapping_world.World(
        tmp_path, {**route, "unknown_fields": "refuse"}, field("x"), field("room", "string")
    ).rows("a/g/hall/t-1", {"device_id": "t-1", "x": 1.5})
    assert row[:2] == (Reason.UNKNOWN_FIELD, "device_id")


@pytest.mark.parametrize(
    ("names", "level"), [("mac", "FC5394C37C00"), ("mac", "fc-53-94-c3-7c-00"), ("encode", "a__20b")]
)
def test_a_device_that_publishes_by_itself_has_the_id_that_the_broker_knows_it_by(names: str, level: str) -> None:
    route = {"filter": "sensors/{device_id}/imu", "device": {"names": names}}
    assert "A device publishes under its own id" in became(route, f"sensors/{level}/imu")


def test_receipts_go_to_who_published_as_the_broker_knows_it() -> None:
    route = {"filter": "sensors/{device_id}/imu", "receipt": "r/{device_id}", "device": {"names": "mac"}}
    it = World(streams={"imu": {"routes": [route]}}, bridge={"receipts": "r/"})
    mine, foreign = (it.routing.match(f"sensors/{level}/imu") for level in ("fc5394c37c00", MAC))
    assert mine.targets[0].captures == foreign.targets[0].captures
    assert (mine.identity, foreign.identity) == ("fc5394c37c00", "")
    for level in ("fc5394c37c00", MAC):
        it.take(Packet(f"sensors/{level}/imu", dumps(), qos=1))
    assert [t.standing is not None for t in it.intake._lanes.topics.values()] == [True, False]


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"filter": "a/{room}/{device_id}", "device": {"topic": "{room}-{device_id}"}}, "the name is joined"),
        ({"filter": "a/{device_id}", "device": {"names": {"x": "y"}}}, "device.names: x would publish as y"),
        ({"filter": "a/{gw}/{room}", "identity": "gw", "device": {"topic": "{room}/{x}"}}, "captures no {x}"),
        ({"filter": "{gw}/{label}/{b}", "identity": "gw", "device": {"topic": "{gw}/{label}"}}, "{b} is not a text"),
    ],
)  # fmt: skip
def test_routes_that_would_let_one_speak_for_another_or_lack_a_capture_are_refused(
    route: dict[str, Any], words: str
) -> None:
    (problem,) = problems(route)
    assert problem.startswith("streams.s0.routes[0]")
    assert words in problem


@pytest.mark.parametrize(
    "device", [{"path": "a", "topic": "{b}"}, {"path": "a["}, {"path": []}, {"path": ["a", "a"]}, {"path": ["a", ""]}]
)
def test_a_name_that_is_in_two_places_or_none_is_refused(device: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"say once where|is not a path|parts, each once"):
        routed({"filter": "a/{b}/{c}", "identity": "c", "device": device})


def test_device_original_and_gateway_of_a_ruuvi_gateway(tmp_path: Path) -> None:
    """https://docs.ruuvi.com/gw-data-formats/mqtt-time-stamped-data-from-bluetooth-sensors"""
    route = {
        "filter": "ruuvi/{gateway}/{device_id}", "identity": "gateway", "device": {"names": "mac"},
        "unknown_fields": "ignore",
        "fields": {"tag": {"topic": "{device_id}"}, "place": {"topic": "{gateway}/{device_id}"}, "gw": "gw_mac"},
    }  # fmt: skip
    it = mapping_world.World(tmp_path, route, *(field(name, "string") for name in ("tag", "place", "gw", "data")))
    (row,) = it.rows(f"ruuvi/hall/{MAC}", {"gw_mac": "C8:25:2D:AA:9C:2C", "rssi": -40, "data": "0201", "coords": ""})
    assert row == {
        "device_id": "fc5394c37c00", "event_time": NOW, "tag": MAC, "place": f"hall/{MAC}", "gw": "C8:25:2D:AA:9C:2C",
        "data": "0201",
    }  # fmt: skip


def test_the_payload_names_the_device_of_a_network_server(tmp_path: Path) -> None:
    route = {
        "filter": "application/{application}/device/+/event/up", "identity": "application", "unknown_fields": "ignore",
        "device": {"path": "deviceInfo.devEui", "names": "mac"},
        "fields": {"eui": "deviceInfo.devEui", "application": {"topic": "{application}"}, "x": "object.x"},
    }  # fmt: skip
    it = mapping_world.World(tmp_path, route, field("x"), field("eui", "string"), field("application", "string"))
    payload = {"deviceInfo": {"devEui": "01010101010101AA", "deviceName": "th 1"}, "object": {"x": 1.5}}
    (row,) = it.rows("application/17c82e96/device/01010101010101aa/event/up", payload)
    assert row == {
        "device_id": "01010101010101aa", "event_time": NOW, "x": 1.5, "eui": "01010101010101AA",
        "application": "17c82e96",
    }  # fmt: skip
    (refused,) = it.rows(
        "application/17c82e96/device/x/event/up", {"deviceInfo": {"devEui": "th 1"}, "object": {"x": 1}}
    )
    assert refused[:2] == ("bad_name", "device_id")


def test_a_name_may_be_of_several_parts_of_the_payload(tmp_path: Path) -> None:
    """As rtl_433 names devices: the id of one model may be that of another. What is absent leaves its place empty."""
    route = {
        "filter": "rtl_433/{host}/events", "identity": "host", "unknown_fields": "keep",
        "device": {"path": ["model", "channel", "id"], "names": "encode"},
    }  # fmt: skip
    it = mapping_world.World(tmp_path, route, field("x"), field("model", "string"))
    names = []
    for parts in ({"model": "A-1", "channel": "A", "id": 5}, {"model": "A-1", "id": 5}, {"model": "B", "id": "5"}):
        (row,) = it.rows("rtl_433/attic/events", {"x": 1.5, **parts})
        names.append(row["device_id"])
        assert (row["model"], row.get("_extra")) == (parts["model"], None)
    assert names == ["A-1__2fA__2f5", "A-1__2f__2f5", "B__2f__2f5"]
    for bad in ({"model": "A/1", "id": 5}, {"model": "A", "id": 5.5}, {"model": True, "id": 5}):
        (refused,) = it.rows("rtl_433/attic/events", {"x": 1.5, **bad})
        assert refused[:2] == ("bad_name", "device_id")
    (refused,) = it.rows("rtl_433/attic/events", {"x": 1.5})
    assert refused[:2] == ("missing_field", "device_id")


@pytest.mark.parametrize("device", [{"path": "id"}, {}])
def test_a_whole_number_names_a_device(tmp_path: Path, device: dict[str, Any]) -> None:
    it = mapping_world.World(tmp_path, {"filter": "a/{gw}/up", "identity": "gw", "device": device}, field("x"))
    (row,) = it.rows("a/hall/up", {"x": 1.5, "id" if device else "device_id": 11524})
    assert row["device_id"] == "11524"
