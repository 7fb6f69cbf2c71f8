"""Devices that publish one plain value a topic: from MQTT to rows in the lake, on the real services."""

import time
import uuid
from pathlib import Path

import pytest

from tests.faults.own import Own, until
from tests.publishing import publish
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1"), pytest.mark.long]


def test_values_become_rows_with_one_field_and_the_time_of_their_arrival(stack: Stack, tmp_path: Path) -> None:
    home = f"home_{uuid.uuid4().hex[:8]}"
    routes = [
        {"filter": f"{home}/{{device_id}}/temperature", "format": "value", "field": "temperature"},
        {"filter": f"{home}/{{device_id}}/sensor/{{field}}/state", "format": "value", "unknown_fields": "ignore"},
    ]
    own = Own(stack, tmp_path, settings={"contract": "environment", "routes": routes})
    before = time.time()
    with own.bridge() as bridge, own.clean(), own.archive():
        bridge.says('"receiving"')
        publish(
            own.config.mqtt,
            (f"{home}/porch/temperature", b"21.5"),
            (f"{home}/porch/temperature", b"21.5"),  # an equal value is another reading
            (f"{home}/porch/temperature", b"21,5"),
            (f"{home}/attic/sensor/humidity/state", b"40\n\0"),
            (f"{home}/attic/sensor/wind_direction/state", b'"NNW"'),
            (f"{home}/attic/sensor/uptime/state", b"12345"),  # no field of the contract
            (f"{home}/attic/sensor/noise/state", b"NaN"),  # a sentinel there
        )
        until(lambda: len(own.rows()) >= 5, lambda: bridge.log)
        report = own.when_stored()
    assert (report["gaps"], report["duplicates"]) == (0, 0), report
    rows = sorted(own.rows(), key=lambda row: (row["device_id"], row["_offset"]))
    assert [(r["device_id"], r["temperature"], r["humidity"], r["wind_direction"], r["_quality"]) for r in rows] == [
        ("attic", None, 40.0, None, None),
        ("attic", None, None, "NNW", None),
        ("attic", None, None, None, "noise:sentinel:null"),
        ("porch", 21.5, None, None, None),
        ("porch", 21.5, None, None, None),
    ]
    assert all(before - 1 < row["event_time"].timestamp() < time.time() + 1 for row in rows)
    (letter,) = own.letters()
    assert letter.value == b"21,5"
    assert "with a decimal point" in letter.text("detail")
