"""The producer of rows, while Kafka takes nothing more."""

from typing import Any

import pytest

from headrace.config import Config
from processors.group.emit import Emitter
from processors.group.hold import Stopped


def test_a_full_queue_is_waited_for_like_any_outage() -> None:
    """SIGTERM, the group and liveness are seen to meanwhile."""
    waits: list[float] = []

    def waiting(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise Stopped

    settings: dict[str, Any] = {
        "kafka": {"bootstrap": "127.0.0.1:1", "librdkafka": {"queue.buffering.max.messages": 2}}
    }
    emitter = Emitter(Config.model_validate(settings).kafka, [2_000_000], waiting)
    with pytest.raises(Stopped):
        emitter.rows("imu.clean", 0, ((None, b"x", []) for _ in range(5)))
    assert waits == sorted(waits)
    emitter.producer.purge()
    emitter.producer.flush(5)
