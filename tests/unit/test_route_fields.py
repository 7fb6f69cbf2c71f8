"""What a route may say of fields: paths, units, formats; and what does not fit the contract."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config import Config
from headrace.contracts import conversion
from headrace.errors import ConfigError
from headrace.protocol import paths
from tests.unit.mapping_world import Make, field, world

__all__ = ["world"]


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (180, "deg/s", "rad/s", 3.141592653589793), (1013.25, "mbar", "hPa", 1013.25), (1, "bar", "kPa", 100.0),
        (101.325, "kPa", "Pa", 101325.0), (36, "km/h", "m/s", 10.0), (0.5, "kW.h", "W.h", 500.0),
        (212, "degF", "Cel", 100.0), (273.15, "K", "Cel", 0.0), (1, "g", "mg", 1000.0), (1, "g", "m/s2", 9.80665),
        (1000, "mg", "g0", 1.0), (3600, "kJ", "kW.h", 1.0), (1, "inHg", "hPa", 33.86389), (21.5, "°C", "Cel", 21.5),
    ],
)  # fmt: skip
def test_factors(value: float, source: str, target: str, expected: float) -> None:
    convert = conversion.convert(source, target)
    assert convert is not None
    assert convert(value) == expected


KINDS = {unit: row[0] for unit, row in conversion._TABLE.items()}
ALIKE = [(a, b) for a in KINDS for b in KINDS if KINDS[a] == KINDS[b]]


@given(st.sampled_from(ALIKE), st.floats(-1e6, 1e6))
def test_there_and_back_is_the_same(units: tuple[str, str], value: float) -> None:
    there, back = conversion.convert(*units), conversion.convert(*reversed(units))
    assert there is not None
    assert back is not None
    assert back(there(value)) == pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"y": "a"}, "fields.y: the contract it has no such field. It has device_id, event_time, x, n"),
        ({"x": {"path": "a", "unit": "Pa"}}, "fields.x.unit: 'Pa' can't be converted to m/s2. Known for it: m/s2, g0"),
        ({"n": {"path": "a", "unit": "g"}}, "fields.n.unit: only doubles and floats are converted, and n is long"),
        ({"event_time": {"path": "a", "unit": "h"}}, "fields.event_time.unit: a time is in s, ms, us or ns"),
        ({"x": {"path": "a", "format": "%Y"}}, "fields.x.format: x is not a time"),
        ({"x": {"value": "text"}}, "fields.x.value: 'text' is no double"),
        ({"event_time": {"value": 1}}, "fields.event_time.value: event_time differs from reading to reading"),
        ({"_extra": "a"}, "fields._extra: the contract it has no such field"),
    ],
)  # fmt: skip
def test_a_mapping_that_does_not_fit_the_contract_is_refused_at_start(
    world: Make, fields: dict[str, Any], words: str
) -> None:
    it = world({"filter": "a/{device_id}", "fields": fields}, field("x", unit="m/s2"), field("n", "long"))
    assert any(words in problem for problem in it.problems), it.problems


TIMED = {"fields": {"event_time": "ts"}}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"fields": {"x": "a..b"}}, "is not a path such as air.co2"),
        ({"fields": {"x": {}}}, "say one of path, value, property and topic"),
        ({"fields": {"x": {"path": "a", "value": 1}}}, "say one of path, value, property and topic"),
        ({"fields": {"x": {"value": 1, "unit": "g"}}}, "give its path"),
        ({"fields": {"x": {"path": "a", "format": "noon"}}}, "is not a format of strptime"),
        ({"fields": {"x": {"path": "a", "format": "%Q"}}}, "is not a format of strptime"),
        ({"fields": {"x": {"path": "a", "format": "%H:%M %Z"}}}, "what %Z means depends on where the bridge runs"),
        ({"fields": {"x": {"path": "a", "format": "%%Z %I:%M %p"}}}, "what %p means depends on where the bridge runs"),
        ({"explode": "a[0]"}, "the whole list is exploded"),
        ({"explode": "a", "format": "cbor"}, "explode is for payloads of format json"),
        ({"time_zone": "Europe/Atlantis"}, "'Europe/Atlantis' is not a time zone such as Europe/Berlin"),
        ({"time_zone": "/etc/passwd"}, "is not a time zone"),
        ({"fields": {"device_id": "dev.eui"}}, "fields.device_id: the device's name stands in `device`"),
        ({"fields": {"device_id": {"topic": "{device_id}"}}}, 'Write device: {topic: "{device_id}"}'),
        ({"format": "columns", **TIMED}, "fields.event_time: columns.start says where the time is. Set that"),
        ({"format": "packed", "packed": {"header": ["u32 t", "u32 u"], "time": "t"}, **TIMED}, "packed.time says"),
        ({"format": "senml", **TIMED}, "fields.event_time: the records of SenML say their time"),
        ({"format": "sparkplug", **TIMED}, "fields.event_time: the metrics of Sparkplug say their time"),
    ],
)  # fmt: skip
def test_settings_that_say_nothing_are_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="validation error") as e:
        Config.model_validate({"streams": {"it": {"routes": [{"filter": "a/{device_id}", **more}]}}})
    assert words in str(e.value)


def test_a_packed_message_without_a_time_of_its_own_may_have_a_field_for_it(world: Make) -> None:
    packed = {"header": ["u32 ts", "u8 x"]}
    it = world({"filter": "a/{device_id}", "format": "packed", "packed": packed,
                "fields": {"event_time": {"path": "ts", "unit": "s"}}}, field("x", "int"))  # fmt: skip
    assert it.rows("a/d", b"\0\x01\x03\x6b\x05")[0]["x"] == 5


@pytest.mark.parametrize("text", ["", ".a", "a.", "a..b", "[0]", "a[", "a[x]", "a]", 'a["b'])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a path"):
        paths.parse(text, "here")


def test_paths() -> None:
    found = {"a": [{"b": 1}, {"b": 2}], "x.y": {"[z]": 3}}
    for text, value in (
        ("a[0].b", 1),
        ("a[-1].b", 2),
        ("a[2].b", None),
        ("a.b", None),
        ('["x.y"]["[z]"]', 3),
        ("q.r", None),
    ):
        assert paths.find(paths.parse(text, "here"), found) == value
