"""`headrace replay` tells what became of its own readings, whatever else goes wrong in other streams meanwhile."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiomqtt
import pytest

from tests.integration.recording import MAPPING, make
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("streams")]


@contextmanager
def poison(stack: Stack, topic: str) -> Iterator[None]:
    """Messages that can't become readings go to another stream's topic while the block lasts, 400 a second."""
    begun, over = threading.Event(), threading.Event()

    async def publish() -> None:
        mqtt = stack.config().mqtt
        password = mqtt.password.get_secret_value() if mqtt.password else None
        async with aiomqtt.Client(mqtt.host, mqtt.port, username=mqtt.username, password=password) as client:
            while not over.is_set():
                for _ in range(20):
                    await client.publish(topic, b"poison", qos=1)
                begun.set()
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(publish()))
    thread.start()
    try:
        assert begun.wait(30), "nothing was published"
        yield
    finally:
        over.set()
        thread.join()


def test_another_streams_dead_letters_are_not_counted_as_refusals(stack: Stack, tmp_path: Path) -> None:
    it = make(tmp_path / "alone.csv", 3000, seed=31)
    with poison(stack, "sensors/broken-01/environment"):
        found = stack.json(
            "replay", str(it.path), "--stream", "imu", "--device", "alone-01", "--map", MAPPING,
            "--time", "timestamp:ms", "--json",
        )  # fmt: skip
    assert (found["sent"], found["arrived"], found["kept"], found["dead_letters"]) == (3000, 3000, 3000, 0)
