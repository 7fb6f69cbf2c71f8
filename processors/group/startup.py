"""What a processor waits for before it joins its group: Kafka, its topics, and the metadata of offsets."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from headrace.config.connect import Kafka
from headrace.runtime.health import Checks
from processors.group import commits
from processors.group.hold import Hold, Stopped

T = TypeVar("T")


def await_kafka(cfg: Kafka, group: str, topics: Sequence[str], health: Checks, stop: threading.Event) -> bool:
    """Wait until Kafka has one of the topics, and was seen to keep the metadata of offsets; /readyz says why we wait.

    False if `stop` came before. ConfigError: Kafka refuses us, or does not keep the metadata.
    """

    def prove() -> bool:
        commits.prove(cfg, group, topics)
        return True

    return until_there("kafka", prove, health, stop) is True


def until_there(check: str, call: Callable[[], T], health: Checks, stop: threading.Event) -> T | None:
    """Return what `call` returns, and call again while it raises TransientError; `check` is what /readyz calls it.

    None if `stop` came before. ConfigError ends the wait: nobody has admitted us yet.
    """

    def wait(seconds: float) -> None:
        health.progress()
        if stop.wait(seconds):
            raise Stopped

    try:
        wait(0.0)
        return Hold(health).repeat(check, "starting", call, wait)
    except Stopped:
        return None
