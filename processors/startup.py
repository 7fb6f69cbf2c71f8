"""What a processor needs of Kafka before it joins its group: to be let in, topics, and offsets' metadata back."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from headrace.config.connect import Kafka
from headrace.errors import TransientError
from headrace.health import Health
from processors import metadata

log = logging.getLogger(__name__)
T = TypeVar("T")

_FIRST_SECONDS, _MOST_SECONDS = 0.25, 10.0


def await_kafka(cfg: Kafka, group: str, topics: Sequence[str], health: Health, stop: threading.Event) -> bool:
    """Wait until Kafka has one of the topics, and has been seen to keep the metadata of offsets; /readyz tells why.

    False: `stop` came before. ConfigError: Kafka refuses us, or does not keep it.
    """

    def prove() -> bool:
        metadata.prove(cfg, group, topics)
        return True

    return until_there(prove, health, stop) is True


def until_there(call: Callable[[], T], health: Health, stop: threading.Event) -> T | None:
    """What `call` returns, tried again for as long as it raises TransientError; /readyz tells why, as `kafka`.

    None: `stop` came before.
    """
    delay = _FIRST_SECONDS
    while not stop.is_set():
        health.progress()
        try:
            out = call()
        except TransientError as e:
            health.ready("kafka", False, str(e))
            log.warning("waiting", extra={"for": "kafka", "error": str(e), "again_in_s": delay})
            stop.wait(delay)
            delay = min(2 * delay, _MOST_SECONDS)
        else:
            health.ready("kafka", True)
            return out
    return None
