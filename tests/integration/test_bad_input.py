"""Bad input of every kind ends as a dead letter or a refusal; nothing crashes, and the next good reading is stored."""

import asyncio
from typing import Any

import aiomqtt
import orjson
import pytest

from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("streams")]

GOOD = {"event_time": 1_700_000_000_000_000, "ax": 0.1, "ay": 0.2, "az": 9.8, "gx": 0, "gy": 0, "gz": 0}
BAD: dict[str, tuple[str, bytes, str]] = {
    "truncated JSON": ("bad-01/imu", b'{"ax": 1.0, "ay"', "malformed"),
    "NaN": ("bad-02/imu", orjson.dumps(GOOD).replace(b"9.8", b"NaN"), "not_finite"),
    "not UTF-8": ("bad-03/imu", b'{"ax": "\xff\xfe"}', "malformed"),
    "a number alone": ("bad-04/imu", b"42", "malformed"),
    "a blank": ("bad-05/imu", b" ", "malformed"),
    "text for a number": ("bad-06/imu", orjson.dumps({**GOOD, "ax": "fast"}), "wrong_type"),
    "a bool for a number": ("bad-07/imu", orjson.dumps({**GOOD, "ax": True}), "wrong_type"),
    "a field missing": ("bad-08/imu", orjson.dumps({"event_time": 1_700_000_000_000_000, "ax": 1}), "missing_field"),
    "a field unknown": ("bad-09/imu", orjson.dumps({**GOOD, "flux": 1}), "unknown_field"),
    "another's device id": ("bad-10/imu", orjson.dumps({**GOOD, "device_id": "bad-99"}), "device_mismatch"),
    "dots for a device": ("../imu", orjson.dumps(GOOD), "bad_name"),
    "emoji for a device": ("😀/imu", orjson.dumps(GOOD), "bad_name"),
    "blank for a device": ("bad 11/imu", orjson.dumps(GOOD), "bad_name"),
    "an unknown topic": ("bad-12/nothing", orjson.dumps(GOOD), "no_route"),
    "out of range": ("bad-13/imu", orjson.dumps({**GOOD, "ax": 1e9}), "out_of_range"),
    "a time in the future": ("bad-14/imu", orjson.dumps({**GOOD, "event_time": "2199-01-01T00:00:00Z"}), "future_time"),
    "4 MB": ("bad-15/imu", b'{"label": "' + b"x" * 4_000_000 + b'"}', "too_large|malformed|missing_field"),
}


async def publish(stack: Stack, messages: list[tuple[str, bytes]]) -> None:
    mqtt = stack.config().mqtt
    password = mqtt.password.get_secret_value() if mqtt.password else None
    async with aiomqtt.Client(mqtt.host, mqtt.port, username=mqtt.username, password=password) as client:
        for topic, payload in messages:
            await client.publish(topic, payload, qos=1)


def letters(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.json("dlq", "list", "--json")["letters"]
    return found


@pytest.mark.clause("CR 3.5")
def test_each_bad_input_is_a_dead_letter_and_the_next_good_reading_is_stored(stack: Stack) -> None:
    before = {name: s["pid"] for name, s in stack.services().items()}
    messages = [(f"sensors/{topic}", payload) for topic, payload, _ in BAD.values()]
    asyncio.run(publish(stack, [*messages, ("sensors/good-01/imu", orjson.dumps(GOOD))]))
    report = stack.json("verify", "--wait", "60", "--json", timeout=120)["streams"]["imu"]
    assert (report["gaps"], report["duplicates"]) == (0, 0)

    by_topic: dict[str, list[str]] = {}
    for it in letters(stack):
        by_topic.setdefault(it["mqtt_topic"], []).append(it["reason"])
    for what, (topic, _, reason) in BAD.items():
        reasons = by_topic.get(f"sensors/{topic}", [])
        assert len(reasons) == 1, (what, reasons)
        assert reasons[0] in reason.split("|"), what
    assert stack.run(
        "query", "--format", "csv", "select count(*) from imu where device_id = 'good-01'"
    ).stdout.split() == [
        "count_star()",
        "1",
    ]
    assert {name: s["pid"] for name, s in stack.services().items()} == before, "a service was restarted"


@pytest.mark.clause("CR 3.5")
def test_a_control_character_in_a_topic_is_refused_before_it_reaches_anyone(stack: Stack) -> None:
    with pytest.raises((ValueError, aiomqtt.MqttError)):
        asyncio.run(publish(stack, [("sensors/a\0b/imu", orjson.dumps(GOOD))]))


@pytest.mark.long
def test_two_equal_payloads_with_neither_time_nor_sequence_are_two_readings(stack: Stack) -> None:
    payload = orjson.dumps({k: v for k, v in GOOD.items() if k != "event_time"})
    asyncio.run(publish(stack, [("sensors/twin-01/imu", payload)] * 2))
    stack.json("verify", "--wait", "60", "--json", timeout=120)
    out = stack.run("query", "--format", "json", "select count(*) as n from imu where device_id = 'twin-01'").stdout
    assert orjson.loads(out)[0]["n"] == 2


def test_an_array_of_readings_becomes_rows_and_its_bad_element_a_dead_letter(stack: Stack) -> None:
    rows = [{**GOOD, "event_time": GOOD["event_time"] + i} for i in range(5)]
    rows[2]["ax"] = "high"  # type: ignore[assignment]
    asyncio.run(publish(stack, [("sensors/array-01/imu", orjson.dumps(rows))]))
    stack.json("verify", "--wait", "60", "--json", timeout=120)
    out = stack.run("query", "--format", "json", "select count(*) as n from imu where device_id = 'array-01'").stdout
    assert orjson.loads(out)[0]["n"] == 4
    assert [it["reason"] for it in letters(stack) if it["mqtt_topic"] == "sensors/array-01/imu"] == ["wrong_type"]


@pytest.mark.long
def test_a_waveform_of_12_000_samples_passes_whole(stack: Stack) -> None:
    samples = [round(((i * 37) % 1000) / 8 - 60, 3) for i in range(12_000)]
    reading = {"event_time": "2026-01-01T00:00:00Z", "axis": "x", "sampling_rate": 25_600, "samples": samples}
    asyncio.run(publish(stack, [("sensors/wave-01/vibration", orjson.dumps(reading))]))
    stack.json("verify", "--wait", "60", "--json", timeout=120)
    sql = "select unnest(samples) as s from vibration where device_id = 'wave-01'"
    out = [row["s"] for row in orjson.loads(stack.run("query", "--format", "json", sql).stdout)]
    assert out == pytest.approx(samples, rel=1e-6)
    assert len(out) == 12_000
