"""Devices without a clock: times that count from their start, on real services, also while the bridge is killed."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import orjson
import pytest

from tests.faults.own import Own, until
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("own-1"), pytest.mark.long]
AXES = dict.fromkeys(("ax", "ay", "az", "gx", "gy", "gz"), 0.0)
FIRST = 1_700_000_000  # s since 1970: when the device was started for boot b1; each further start is a day later
DAY = 86_400

Message = tuple[str, bytes, bool]


def settings(name: str) -> dict[str, Any]:
    route = {
        "filter": f"{name}/{{device_id}}/imu",
        "fields": {"event_time": {"path": "up", "unit": "ms"}},
        "sync": {"filter": f"{name}-sync/{{device_id}}/+", "boot": "id", "unit": "ms", "uptime": "up", "time": "utc"},
    }
    return {"contract": "imu", "routes": [route]}


def start(boot: int) -> int:
    return FIRST + boot * DAY


def sync(name: str, boot: int, device: str = "d") -> Message:
    said = {"id": f"b{boot}", "up": 60_000, "utc": datetime.fromtimestamp(start(boot) + 60, UTC).isoformat()}
    return f"{name}-sync/{device}/b{boot}", orjson.dumps(said), True


def reading(name: str, boot: int, number: int, device: str = "d") -> Message:
    """It was taken as many seconds after the start as its number says."""
    said = {**AXES, "up": number * 1000, "boot_id": f"b{boot}", "sequence": number}
    return f"{name}/{device}/imu", orjson.dumps(said), False


def publish(own: Own, messages: Iterable[Message]) -> None:
    async def main() -> None:
        mqtt = own.config.mqtt
        password = mqtt.password.get_secret_value() if mqtt.password else None
        async with aiomqtt.Client(mqtt.host, mqtt.port, username=mqtt.username, password=password) as client:
            for topic, payload, retain in messages:
                await client.publish(topic, payload, qos=1, retain=retain)

    asyncio.run(main())


def right(own: Own) -> list[tuple[str, str, int]]:
    """Device, start and number of each row, whose times are all right."""
    rows = own.rows()
    for row in rows:
        assert row["event_time"].timestamp() == start(int(row["boot_id"][1:])) + row["sequence"], row
    return sorted((row["device_id"], row["boot_id"], row["sequence"]) for row in rows)


def test_readings_of_several_starts_have_their_times_though_the_bridge_is_killed_while_they_wait(
    stack: Stack, tmp_path: Path
) -> None:
    name = f"up_{time.time_ns():x}"
    own = Own(stack, tmp_path, settings=settings(name))
    with own.clean(), own.archive():
        with own.bridge() as bridge:
            bridge.says('"receiving"')
            publish(own, [sync(name, 1), *(reading(name, 1, n) for n in range(100))])
            until(lambda: len(own.records(own.raw)) >= 100, lambda: bridge.log)
            bridge.kill()
        # What waits in the session: of the start before, a new start with its sync message, and a device without one.
        publish(own, (reading(name, 1, n) for n in range(100, 200)))
        publish(own, [sync(name, 2), *(reading(name, 2, n) for n in range(1500)), reading(name, 9, 5, "e")])
        for _ in range(2):
            with own.bridge() as bridge:
                bridge.says('"receiving"')
                publish(own, (reading(name, 2, n) for n in range(1500, 1600)))  # copies, the second time
                bridge.kill()  # with messages that Kafka has, and that are not acknowledged
        with own.bridge() as bridge:
            bridge.says('"receiving"')
            expected = {("d", "b1", n) for n in range(200)} | {("d", "b2", n) for n in range(1600)}
            until(lambda: len(own.rows()) >= len(expected), lambda: bridge.log)
            until(lambda: len(own.letters()) > 0, lambda: bridge.log)
            report = own.when_stored()
        assert right(own) == sorted(expected)
        assert (report["gaps"], report["duplicates"]) == (0, 0), report
        (letter,) = own.letters()
        assert (letter.text("reason"), letter.text("device")) == ("no_sync", "e")
        assert "Have it publish one, retained, and redrive" in letter.text("detail")

        redrive = ("--config", str(own.path), "dlq", "redrive", "--yes", "--json", "--reason", "no_sync")
        assert stack.run(*redrive, ok=False).returncode == 1
        publish(own, [sync(name, 9, "e")])
        assert orjson.loads(stack.run(*redrive).stdout)["counts"] == {"redriven": 1}
        expected.add(("e", "b9", 5))
        until(lambda: len(own.rows()) >= len(expected), own.when_stored)
        assert right(own) == sorted(expected)


def test_each_bridge_of_a_shared_group_knows_the_starts(stack: Stack, tmp_path: Path) -> None:
    name = f"up_{time.time_ns():x}"
    own = Own(stack, tmp_path, settings=settings(name), bridge={"shared_group": f"g-{name}"})
    expected = {("d", f"b{boot}", n) for boot in (1, 2) for n in range(300)}
    with own.clean(), own.archive(), ExitStack() as bridges:
        publish(own, [sync(name, 1)])  # before there is a bridge: its session is new, and gets what is kept
        for member in "ab":
            own.change("bridge", client_id=f"headrace-{name}-{member}")
            bridges.enter_context(own.bridge()).says('"receiving"')
        publish(own, (reading(name, 1, n) for n in range(300)))
        publish(own, [sync(name, 2), *(reading(name, 2, n) for n in range(300))])
        until(lambda: len(own.rows()) >= len(expected), own.letters)
        own.when_stored()
    assert right(own) == sorted(expected)
    assert own.letters() == []
