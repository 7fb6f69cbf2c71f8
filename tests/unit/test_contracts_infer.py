"""A contract from a sample: it lints clean, and every reading of the sample passes through the bridge."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.decoders.base import Reading, Source
from bridge.decoders.json.decoder import JsonDecoder
from headrace.contracts import guess
from headrace.contracts.infer import Draft, infer
from headrace.contracts.lint import lint, serious
from headrace.contracts.sample import read_sample
from headrace.contracts.write import config_yaml, example_topic
from headrace.errors import ConfigError
from headrace.protocol.filters import parse

TOPIC = "plant/{device_id}/pump"
NOW = 1_763_888_400  # seconds


def draft(*readings: dict[str, Any], topic: str = TOPIC) -> Draft:
    made = infer("pump", readings, tuple(parse(topic, "--topic").captures), "sample.json")
    assert serious(lint(made.contract)) == []
    names = tuple(parse(topic, "--topic").captures)
    decoder = JsonDecoder(made.contract, 1, names)
    for r in readings:
        device = r.get("device_id", "pump-01")
        source = Source({n: r.get(n, device if n == "device_id" else "a") for n in names})
        found = decoder.decode(json.dumps(r).encode(), source, NOW * 1_000_000)
        assert all(isinstance(one, Reading) for one in found), found
    return made


def refusal(*readings: dict[str, Any], topic: str = TOPIC) -> str:
    with pytest.raises(ConfigError) as e:
        infer("pump", readings, tuple(parse(topic, "--topic").captures), "sample.json")
    return str(e.value)


def test_a_usual_payload_becomes_a_contract() -> None:
    made = draft({"ts": NOW * 1000, "temp_c": 61.2, "rpm": 1450, "state": "run", "ok": True, "count": 7})
    c = made.contract
    assert [(f.name, f.kind, f.nullable, f.unit) for f in c.fields[2:-1]] == [
        ("temp_c", "double", True, "Cel"),
        ("rpm", "double", True, "rpm"),
        ("state", "string", True, None),
        ("ok", "boolean", True, None),
        ("count", "long", True, None),
    ]
    assert (c.field("event_time").aliases, c.field("event_time").time_unit) == (("ts",), "ms")
    assert c.field("temp_c").on_violation["not_finite"] == "null"
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
    assert len(made.contract.fields) == 4


def test_a_time_is_found_though_a_likelier_key_has_none() -> None:
    assert draft({"timestamp": "yesterday", "ts": NOW}).contract.field("event_time").aliases == ("ts",)


def test_several_readings_make_better_types() -> None:
    made = draft({"a": 1, "b": 1, "c": "x"}, {"a": 2.5, "c": "y", "d": None, "e": 3}, {"a": 3, "c": "z", "d": 1})
    c = made.contract
    assert [(f.name, f.kind, f.nullable) for f in c.fields[2:-1]] == [
        ("a", "double", False), ("b", "double", True), ("c", "string", False), ("d", "double", True),
        ("e", "double", True),
    ]  # fmt: skip


def test_marks_for_no_value_become_sentinels() -> None:
    made = draft({"co": 1.5}, {"co": "NA"}, {"co": ""})
    assert made.contract.field("co").sentinels == ("", "NA")
    assert made.contract.field("co").nullable
    assert "is a number, but once the text 'high'" in refusal({"co": 1}, {"co": "high"})


def test_whole_numbers_are_longs_only_if_they_count_or_are_large() -> None:
    c = draft({"rpm": 1, "error_code": 5, "big": 2**60, "when": NOW * 1000, "huge": 2**64 - 1}).contract
    assert [f.kind for f in c.fields[2:-1]] == ["double", "long", "long", "long", "double"]


def test_lists_become_arrays_and_objects_become_records() -> None:
    c = draft({"samples": [1, 2.5] * 500, "tags": ["a"], "motor": {"rms_mm_s": 1.5, "axis": {"x": 1}}}).contract
    assert (c.field("samples").items, c.field("samples").max_items) == ("double", 2048)
    assert (c.field("tags").items, c.field("tags").max_items) == ("string", 16)
    motor = next(f for f in c.schema["fields"] if f["name"] == "motor")
    assert motor["type"][1]["name"] == "pump_motor"
    rms, axis = c.field("motor").type.members
    assert (rms.name, axis.name) == ("rms_mm_s", "axis")
    assert rms.attributes["unit"] == "mm/s"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("PM2.5", "PM2_5"), ("motor temp", "motor_temp"), ("température", "temperature"), ("温度", "field"),
        ("9axis", "n_9axis"), ("_id", "id"), ("date", "date_2"), ("_topic", "topic"), ("select", "select"),
        ("x" * 300, "x" * 100),
    ],
)  # fmt: skip
def test_any_key_gets_a_field(key: str, name: str) -> None:
    field = draft({key: 1.5}).contract.fields[2]
    assert field.name == name
    assert field.aliases == (() if key == name else (key,))


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
    assert "can't name a device" in refusal({"device_id": 17})
    assert "can't name a device" in refusal({"mac": "AA:BB:CC"}, topic="plant/pump")


def test_captures_are_fields() -> None:
    made = draft({"x": 1}, topic="plant/{site}/{device_id}/pump")
    assert (made.contract.field("site").kind, made.contract.field("site").nullable) == ("string", False)
    draft({"site": "a", "x": 1}, topic="plant/{site}/{device_id}/pump")
    assert "not text in the payload" in refusal({"site": 5}, topic="plant/{site}/{device_id}/pump")
    assert "not text in the payload" in refusal({"x": 5}, topic="plant/{event_time}/{device_id}/pump")


def test_keys_inside_objects_may_be_any_text() -> None:
    made = draft({"air": {"temp(°C)": 7.2, "temp_C": 1, "Temp_c": 2, "2nd": {"rel-hum %": 81}}})
    first, second, third, inner = made.contract.field("air").type.members
    assert [m.name for m in (first, second, third)] == ["temp_C_2", "temp_C", "Temp_c_3"]
    assert [m.attributes["aliases"] for m in (first, third, inner)] == [["temp(°C)"], ["Temp_c"], ["2nd"]]
    assert inner.type.members[0].attributes["aliases"] == ["rel-hum %"]


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        ({"a": None}, "a is always null"),
        ({"a": []}, "a is a list without items"),
        ({"a": [1, "x"]}, "of one kind"),
        ({"a": [1, None]}, "of one kind"),
        ({"a": [{"x": 1}]}, "of one kind"),
        ({"a": [[1]]}, "of one kind"),
        ({"a": {}}, "a is an empty object"),
        ({"a": {"": 1}}, "a key inside a is empty"),
        ({"a": {"x": None}}, "a.x is always null"),
        ({"": 1}, "a key is empty"),
        ({"_quality": "x"}, "Headrace's own"),
        ({"event_time": "soon"}, "event_time is not a time"),
        ({"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"j": 1}}}}}}}}}}, "deep"),
    ],
)
def test_shapes_that_are_refused_in_words(reading: dict[str, Any], words: str) -> None:
    message = refusal(reading)
    assert message.startswith("sample.json: ")
    assert words in message


def test_types_that_change_are_refused() -> None:
    assert "a has values of several kinds: boolean, text" in refusal({"a": True}, {"a": "x"})
    assert "a has values of several kinds: list, whole number" in refusal({"a": 1}, {"a": [1]})


@pytest.mark.parametrize(
    ("text", "count"),
    [('{"a": 1}', 1), ('[{"a": 1}, {"a": 2}]', 2), ('{"a": 1}\n{"a": 2}\n\n{"a": 3}\n', 3), ('{\n "a":\n 1}\n', 1)],
)
def test_a_sample_may_be_written_in_several_ways(text: str, count: int) -> None:
    assert len(read_sample(text, "s.json")) == count


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"), (" \n", "empty"), ("5", "not a number"), ("null", "not null"), ("[]", "an empty array"),
        ("[1]", "array of"), ('"x"', "not text"), ("{", "not JSON"), ('{"a": NaN}', "not JSON"),
        ('{"a": 1}\n{"a"', "line 2: not JSON"), ('{"a": 1}\n7', "line 2: an object"),
        ("x" * (17 * 1024 * 1024), "too large"), ('{"a":' * 3000 + "1" + "}" * 3000, "not JSON"),
    ],
)  # fmt: skip
def test_what_is_not_a_sample_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"s\.json") as e:
        read_sample(text, "s.json")
    assert words in str(e.value)


def test_a_configuration_and_a_topic_for_it() -> None:
    assert example_topic(parse("plant/{site}/{device_id}/+/pump/#", ""), "p-1") == "plant/1/p-1/1/pump/1"
    assert '"plant/{device_id}/pump"' in config_yaml("pump", TOPIC, "contracts")


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("temperature", None), ("temp_c", "Cel"), ("motorTempC", "Cel"), ("supply_volts", "V"), ("v", None),
        ("pressure_hPa", "hPa"),
        ("vibrationMmS", "mm/s"), ("vib_mm_s", "mm/s"), ("acc_m_s2", "m/s2"), ("co2", "ppm"), ("pm2_5", "ug/m3"),
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
