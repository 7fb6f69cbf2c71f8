"""A contract from a sample: it lints clean, and every reading of the sample passes through the bridge."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bridge.decoders.base import Reading, Source
from bridge.decoders.json.decoder import JsonDecoder
from headrace.contracts import guess
from headrace.contracts.infer import Draft, infer
from headrace.contracts.lint import lint, serious
from headrace.contracts.sample import read_sample
from headrace.contracts.write import RouteDraft, config_yaml, example_topic
from headrace.errors import ConfigError
from headrace.protocol.filters import parse

TOPIC = "plant/{device_id}/pump"
NOW = 1_763_888_400  # seconds
SAYS_NOTHING = "no field of the contract has a value"  # what becomes of {}, whatever the contract


def draft(*readings: dict[str, Any], topic: str = TOPIC) -> Draft:
    made = infer("pump", readings, tuple(parse(topic, "--topic").captures), "sample.json")
    assert serious(lint(made.contract)) == []
    names = tuple(parse(topic, "--topic").captures)
    decoder = JsonDecoder(made.contract, 1, names)
    for r in readings:
        device = r.get("device_id", "pump-01")
        source = Source({n: r.get(n, device if n == "device_id" else "a") for n in names}, "keep")
        found = decoder.decode(json.dumps(r).encode(), source, NOW * 1_000_000)
        assert all(isinstance(one, Reading) or str(one.error).startswith(SAYS_NOTHING) for one in found), found  # type: ignore[union-attr]
    return made


def refusal(*readings: dict[str, Any], topic: str = TOPIC) -> str:
    with pytest.raises(ConfigError) as e:
        infer("pump", readings, tuple(parse(topic, "--topic").captures), "sample.json")
    return str(e.value)


def test_a_usual_payload_becomes_a_contract() -> None:
    made = draft({"ts": NOW * 1000, "temp_c": 61.2, "rpm": 1450, "state": "run", "ok": True, "count": 7})
    c = made.contract
    assert [(f.name, f.kind, f.nullable, f.unit) for f in c.fields[2:-2]] == [
        ("temp_c", "double", True, "Cel"),
        ("rpm", "double", True, "rpm"),
        ("state", "string", True, None),
        ("ok", "boolean", True, None),
        ("count", "long", True, None),
    ]
    assert (c.field("event_time").aliases, c.field("event_time").time_unit) == (("ts",), "ms")
    assert c.field("temp_c").on_violation["not_finite"] == "null"
    assert [(t.key, t.field, t.type, t.unit) for t in made.told] == [
        ("ts", "event_time", "time", "ms"),
        ("temp_c", "temp_c", "double", "Cel"),
        ("rpm", "rpm", "double", "rpm"),
        ("state", "state", "string", ""),
        ("ok", "ok", "boolean", ""),
        ("count", "count", "long", ""),
    ]
    assert made.hints == ()


@pytest.mark.parametrize(("factor", "unit"), [(1, "s"), (1_000, "ms"), (1_000_000, "us"), (1_000_000_000, "ns")])
@pytest.mark.parametrize("key", ["event_time", "timestamp", "Time", "timestampMs", "recorded_at"])
def test_the_unit_of_a_time_is_told_by_its_size(factor: int, unit: str, key: str) -> None:
    field = draft({key: NOW * factor, "x": 1}).contract.field("event_time")
    assert field.time_unit == unit
    assert field.aliases == (() if key == "event_time" else (key,))


@pytest.mark.parametrize("text", ["2026-11-20T10:00:00Z", "2026-11-20T10:00:00.123456+02:00", "2026-11-20"])
def test_times_may_be_text(text: str) -> None:
    made = draft({"time": text})
    assert made.contract.field("event_time").aliases == ("time",)
    assert any("name no time zone" in h for h in made.hints) == (text == "2026-11-20")


@pytest.mark.parametrize(
    "reading", [{"x": 1.5}, {"ts": 12345}, {"time": "10/03/2004 18:00"}, {"t": 21.5}, {"time": True}]
)
def test_without_a_time_the_time_of_arrival_counts(reading: dict[str, Any]) -> None:
    made = draft(reading)
    assert made.contract.field("event_time").aliases == ()
    assert any("time of arrival" in h for h in made.hints)
    assert len(made.contract.fields) == 5


def test_a_time_in_a_form_of_its_own_is_told() -> None:
    hints = draft({"x": {"time": "10/03/2004 18:00"}}).hints
    assert any("x.time may be a time" in h and "{path: x.time, format:" in h for h in hints)


def test_a_time_is_found_though_a_likelier_key_has_none() -> None:
    assert draft({"timestamp": "yesterday", "ts": NOW}).contract.field("event_time").aliases == ("ts",)


def test_several_readings_make_better_types() -> None:
    made = draft({"a": 1, "b": 1, "c": "x"}, {"a": 2.5, "c": "y", "d": None, "e": 3}, {"a": 3, "c": "z", "d": 1})
    c = made.contract
    assert [(f.name, f.kind, f.nullable) for f in c.fields[2:-2]] == [
        ("a", "double", True), ("b", "double", True), ("c", "string", True), ("d", "double", True),
        ("e", "double", True),
    ]  # fmt: skip


def test_marks_for_no_value_become_sentinels() -> None:
    made = draft({"co": 1.5}, {"co": "NA"}, {"co": ""})
    assert made.contract.field("co").sentinels == ("", "NA")
    assert made.contract.field("co").nullable


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("fcnt", 3, "long"), ("fCnt", 3, "long"), ("sequence", 3, "long"), ("uplinkId", 2**32, "long"),
        ("error_count", 0, "long"), ("count", 2.5, "double"), ("uv_index", 3, "double"), ("heat_index", 25, "double"),
        ("total", 12, "double"), ("Total", 25, "double"), ("level", 4, "double"), ("lifetime_wh", 2 * 10**9, "double"),
        ("step", 1, "double"), ("version", 2, "double"), ("state", 1, "double"), ("energy", NOW * 1000, "double"),
        ("counter32", 2**53 + 1, "long"), ("eui", 2**63, "bytes"), ("eui", 10**38, "string"),
    ],
)  # fmt: skip
def test_what_is_measured_is_double_and_no_digit_is_lost(key: str, value: float, kind: str) -> None:
    made = draft({key: value})
    assert made.contract.field(key).kind == kind
    assert made.told[0].open == (kind in {"bytes", "string"})


def test_a_number_of_more_than_64_bits_keeps_its_digits() -> None:
    made = draft({"eui": 18446744073709551615})
    assert (made.contract.field("eui").logical, made.contract.field("eui").type.precision) == ("decimal", 38)
    assert "18446744073709551615 does not fit 64 bits" in made.told[0].why
    assert "9007199254740993 keeps" in draft({"a": 0.5}, {"a": 9007199254740993}).told[0].why


def test_lists_become_arrays_and_objects_become_records() -> None:
    c = draft({"samples": [1, 2.5] * 500, "tags": ["a"], "motor": {"rms_mm_s": 1.5, "axis": {"x": 1}}}).contract
    assert (c.field("samples").items, c.field("samples").max_items) == ("double", 4096)
    assert (c.field("tags").items, c.field("tags").max_items) == ("string", 64)
    motor = next(f for f in c.schema["fields"] if f["name"] == "motor")
    assert motor["type"][1]["name"] == "pump_motor"
    rms, axis = c.field("motor").type.members
    assert (rms.name, axis.name) == ("rms_mm_s", "axis")
    assert rms.attributes["unit"] == "mm/s"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("PM2.5", "PM2_5"), ("motor temp", "motor_temp"), ("température", "temperature"), ("温度", "wen_du"),
        ("Größe", "Grosse"), ("Δθ", "dth"), ("!", "field"),
        ("9axis", "n_9axis"), ("_id", "id"), ("date", "date_2"), ("_topic", "topic"), ("select", "select"),
        ("x" * 300, "x" * 100),
    ],
)  # fmt: skip
def test_any_key_gets_a_field(key: str, name: str) -> None:
    made = draft({key: 1.5})
    field = made.contract.fields[2]
    assert field.name == name
    assert field.aliases == (() if key == name else (key,))
    assert (f"{key} can't name a column" in made.told[0].why) == (key != name)
    assert key in field.doc


def test_keys_that_are_one_name_in_sql() -> None:
    c = draft({"Temp": 1, "temp": 2, "A b": 3, "A_b": 4, "a/b": 5}).contract
    assert len({f.name.lower() for f in c.fields}) == len(c.fields)
    assert c.field("A_b").aliases == ()


def test_sequence_and_boot_get_roles_together() -> None:
    c = draft({"seq": 1, "boot_id": "a1"}).contract
    assert (c.field("seq").role, c.field("boot_id").role) == ("sequence", "boot")
    assert draft({"seq": 1}).contract.field("seq").role is None
    c = draft({"seq": 1.5, "boot": 2}).contract
    assert (c.field("seq").role, c.field("boot").role) == (None, None)


def test_the_device_comes_from_a_key_or_from_the_topic() -> None:
    assert draft({"x": 1}).contract.field("device_id").aliases == ()
    assert draft({"device_id": "p1", "x": 1}).contract.field("device_id").aliases == ()
    made = draft({"sensorId": "p1", "x": 1}, topic="plant/pump")
    assert made.contract.field("device_id").aliases == ("sensorId",)
    # the topic says it: a key beside is a field like any other
    assert draft({"sensorId": "p1"}).contract.field("sensorId").kind == "string"
    assert "Put {device_id} into the topic" in refusal({"x": 1}, topic="plant/pump")
    assert "can't name a device" in refusal({"device_id": 17}, topic="plant/pump")
    assert "can't name a device" in refusal({"mac": "AA:BB:CC"}, topic="plant/pump")


@pytest.mark.parametrize("value", [17, "AA:BB:CC:DD:EE:FF", "hall 1"])
def test_a_device_id_that_is_none_is_kept_apart_where_the_topic_names_the_device(value: object) -> None:
    made = infer("pump", [{"device_id": value, "x": 1}], ["device_id"])
    assert (made.device, made.mapping) == ({"topic": "{device_id}"}, {})
    assert (made.told[0].key, made.told[0].field, made.told[0].open) == ("device_id", "_extra", True)


def test_captures_are_fields() -> None:
    made = draft({"x": 1}, topic="plant/{site}/{device_id}/pump")
    assert (made.contract.field("site").kind, made.contract.field("site").nullable) == ("string", False)
    draft({"site": "a", "x": 1}, topic="plant/{site}/{device_id}/pump")
    assert infer("pump", [{"site": 5}], ["site", "device_id"]).mapping == {"site": {"topic": "{site}"}}
    assert "which is a time" in refusal({"x": 5}, topic="plant/{event_time}/{device_id}/pump")


def test_keys_inside_objects_may_be_any_text() -> None:
    made = draft({"air": {"temp(°C)": 7.2, "temp_C": 1, "Temp_c": 2, "2nd": {"rel-hum %": 81}}})
    first, second, third, inner = made.contract.field("air").type.members
    assert [m.name for m in (first, second, third)] == ["temp_C_2", "temp_C", "Temp_c_3"]
    assert [m.attributes["aliases"] for m in (first, third, inner)] == [["temp(°C)"], ["Temp_c"], ["2nd"]]
    assert inner.type.members[0].attributes["aliases"] == ["rel-hum %"]


@pytest.mark.parametrize(
    ("readings", "why"),
    [
        ([{"a": None}], "always null"),
        ([{"a": []}], "always []"),
        ([{"a": {}}], "always {}"),
        ([{"a": {}}, {"a": []}, {"a": None}], "always [] and {}"),
        ([{"a": [1, "x"]}], "of several kinds"),
        ([{"a": [1, None]}], "of several kinds"),
        ([{"a": [[1]]}], "of lists"),
        ([{"a": [{"x": 1}]}], "a list of objects"),
        ([{"a": [2**70]}], "a double can't hold"),
        ([{"a": 10**39}], "too many digits"),
        ([{"a": True}, {"a": "x"}], "several kinds: true or false, text"),
        ([{"a": 1}, {"a": [1]}], "several kinds: lists, whole numbers"),
        ([{"a": 1}, {"a": "high"}], "also the text 'high'"),
        ([{"a": {"": 1}}], "too deep"),
    ],
)
def test_what_has_no_type_of_its_own_is_kept_as_json_text(readings: list[dict[str, Any]], why: str) -> None:
    made = draft(*readings)
    field = next(f for f in made.contract.schema["fields"] if f["name"] == "a")
    assert (field["type"], field["default"], field["json"]) == (["null", "string"], None, True)
    assert (made.told[0].type, made.told[0].open) == ("JSON text", True)
    assert why in made.told[0].why


def test_a_later_message_settles_what_one_left_open() -> None:
    c = draft({"a": None, "b": [], "c": {}}, {"a": True, "b": [1], "c": {"x": 1}}).contract
    assert [f.kind for f in c.fields[2:-2]] == ["boolean", "array", "record"]


def test_the_same_holds_inside_objects() -> None:
    made = draft({"a": {"x": None, "gap": "NA", "n": 1}}, {"a": {"gap": 2.5, "": 1}})
    x, gap, n = made.contract.field("a").type.members
    assert [x.type.kind, gap.type.kind, n.type.kind] == ["string", "string", "double"]
    assert (x.attributes["json"], gap.attributes["json"]) == (True, True)
    assert ('a.""', "_extra") in {(t.key, t.field) for t in made.told}


def test_objects_beyond_the_depth_of_columns_are_json_text() -> None:
    deep: dict[str, Any] = {"x": [1.5]}
    for key in "ihgfedcba":
        deep = {key: deep}
    assert any("too deep" in t.why for t in draft(deep).told)


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        ({"_quality": "x"}, "Headrace's own"),
        ({"_extra": "x"}, "Headrace's own"),
        ({"event_time": "soon"}, "event_time is not a time"),
    ],
)
def test_keys_that_are_ours_are_refused(reading: dict[str, Any], words: str) -> None:
    message = refusal(reading)
    assert message.startswith("sample.json: ")
    assert words in message


@pytest.mark.parametrize(
    ("text", "why"),
    [("868300000", "a number in quotes"), ("21,5", "with a decimal comma"), ("NaN", "means no value?"), ("4/5", "")],
)
def test_numbers_in_texts_stay_text_and_are_told(text: str, why: str) -> None:
    made = draft({"a": text})
    assert made.contract.field("a").kind == "string"
    assert why in made.told[0].why
    assert made.told[0].open == bool(why)
    assert made.mark == {"868300000": ".", "21,5": ","}.get(text, "")
    assert any(f"text_numbers: '{made.mark}'" in hint for hint in made.hints) == bool(made.mark)


def test_a_time_may_lie_deeper_and_the_route_says_where() -> None:
    made = draft({"params": {"ts": NOW + 0.46, "switch:0": {"minute_ts": NOW}}})
    assert made.mapping == {"event_time": {"path": "params.ts", "unit": "s"}}
    assert draft({"m": {"at": {"time": "2026-11-23T10:00:12.775023242Z"}}}).mapping == {"event_time": "m.at.time"}
    made = draft({"received_at": "2026-11-23T10:00:12Z", "up": {"settings": {"timestamp": 2463457000}}})
    assert (made.mapping, made.contract.field("event_time").aliases) == ({}, ("received_at",))
    assert any("up.settings.timestamp: may be times too" in h for h in made.hints)
    assert draft({"a.b": {"ts": NOW}}).mapping == {"event_time": {"path": '["a.b"].ts', "unit": "s"}}


def test_times_without_a_zone_ask_for_one() -> None:
    assert draft({"Time": "2026-11-23T10:00:12", "x": 1}).zone
    assert not draft({"Time": "2026-11-23T10:00:12+01:00", "x": 1}).zone


def test_lists_of_objects_are_told_with_a_key_of_theirs() -> None:
    made = draft({"rx": {"info": [{"id": "a", "time": "x", "rssi": -35}]}, "e": [{}], "l": [{"a": "x"}]})
    assert made.lists == {"rx.info": "rssi", "l": "a"}


@pytest.mark.parametrize(
    ("text", "count"),
    [('{"a": 1}', 1), ('[{"a": 1}, {"a": 2}]', 2), ('{"a": 1}\n{"a": 2}\n\n{"a": 3}\n', 3), ('{\n "a":\n 1}\n', 1)],
)
def test_a_sample_may_be_written_in_several_ways(text: str, count: int) -> None:
    assert len(read_sample(text.encode(), "s.json").readings) == count


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"), (" \n", "empty"), ("5", "not a number"), ("null", "not null"), ("[]", "an empty array"),
        ("[1]", "array of"), ('"x"', "not text"), ("{", "not JSON"), ('{"a": 1e999}', "beyond those of 64 bits"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"a": 1}\n{"a"', "line 2: not JSON"), ('{"a": 1}\n7', "line 2: an object"),
        ("x" * (17 * 1024 * 1024), "too large"), ('{"a":' * 3000 + "1" + "}" * 3000, "not JSON"),
    ],
)  # fmt: skip
def test_what_is_not_a_sample_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"s\.json") as e:
        read_sample(text.encode(), "s.json")
    assert words in str(e.value)


def test_what_surrounds_a_payload_is_taken() -> None:
    sample = read_sample(b'\xef\xbb\xbf{"a": nan, "b": [-Infinity, 1], "c": "nan, inf \\" nan"}\0\r\n', "s.json")
    assert sample.readings == ({"a": None, "b": [None, 1], "c": 'nan, inf " nan'},)
    assert "taken as null" in sample.notes[0]
    assert read_sample('{"a": "x\u2028y"}\n{"a": 18446744073709551615}'.encode(), "s").readings[1] == {"a": 2**64 - 1}
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_sample(b"\xff{}", "s.json")


def test_a_configuration_and_a_topic_for_it() -> None:
    assert example_topic(parse("plant/{site}/{device_id}/+/pump/#", ""), "p-1") == "plant/1/p-1/1/pump/1"
    assert '"plant/{device_id}/pump"' in config_yaml("pump", RouteDraft(TOPIC), "contracts")
    route = RouteDraft(
        TOPIC, {"unknown_fields": "keep", "fields": {"event_time": {"path": "a.ts", "unit": "s"}}}, ("x: 1",)
    )
    text = config_yaml("on", route, "contracts")
    assert yaml.safe_load(text)["streams"] == {"on": {"routes": [{"filter": TOPIC, **route.keys}]}}
    assert "        # x: 1\n" in text


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("temperature", None), ("temp_c", "Cel"), ("motorTempC", "Cel"), ("supply_volts", "V"), ("v", None),
        ("pressure_hPa", "hPa"),
        ("vibrationMmS", "mm/s"), ("vib_mm_s", "mm/s"), ("acc_m_s2", "m/s2"), ("co2", "ppm"), ("pm2_5", "ug/m3"),
        ("temp(°C)", "Cel"), ("p [kPa]", "kPa"), ("a(b)", None), ("a()", None), ("tempc", "Cel"), ("battery_V", "V"),
            ("BatV", "V"), ("TempC_SHT", "Cel"), ("TempC1", "Cel"), ("levelV", None),
        ("rain_mm_h", "mm/h"),
        ("wc", None), ("speed_ms", None), ("state", None), ("c", None),
    ],
)  # fmt: skip
def test_a_unit_is_guessed_only_without_doubt(name: str, unit: str | None) -> None:
    assert guess.unit(name, [1.0]) == unit


SCALARS = (
    st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | st.sampled_from(["NA", "", "2026-01-01T00:00:00Z", NOW, NOW * 1000])
)  # fmt: skip
KEYS = st.text(min_size=1, max_size=6) | st.sampled_from(
    ["ts", "time", "device", "seq", "boot", "date", "Temp", "temp", "a b", "a_b", "_topic", "id", "count", "_x", "x"]
)
VALUES = st.recursive(
    st.none() | SCALARS,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "on"]), v, max_size=3),
    max_leaves=5,
)


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=5), min_size=1, max_size=4))
def test_any_sample_passes_through_its_contract_or_is_refused_in_words(readings: list[dict[str, Any]]) -> None:
    try:
        draft(*readings)
    except ConfigError as e:
        where = str(e).partition(": ")[0]
        assert where in {"sample.json", "the contract made from sample.json"}
