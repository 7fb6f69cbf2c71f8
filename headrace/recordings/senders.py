"""The connections by which a recording is played: one for each device, which does no more than a device may."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from headrace.config import Config
from headrace.config.connect import Mqtt
from headrace.simulation.device import Publisher

_SHARE = 0.9  # of what a device may send in a minute
_AHEAD_SECONDS = 0.05  # shorter waits are added up


class Senders:
    """Publishers by device, each opened when it is first asked for. An async context manager.

    `logins`: the password of each device. Where it is empty all have one connection, with the services' login and
    `client_id`. `notify` gets messages for people.
    """

    def __init__(self, cfg: Config, logins: Mapping[str, str], client_id: str, notify: Callable[[str], None]) -> None:
        self._mqtt = cfg.mqtt
        self._limits = cfg.hub.behaviour.limits() if logins else {}
        self._logins = logins
        self._client_id = client_id
        self._notify = notify
        self._stack = AsyncExitStack()
        self._open: dict[str, Sender] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def of(self, device: str) -> "Sender":
        """The connection of a device. TransientError when the broker stays away."""
        name = device if self._logins else ""
        if name not in self._open:
            mqtt: Mqtt = self._mqtt.as_device(device, self._logins[device]) if name else self._mqtt
            publisher = Publisher(mqtt, name or self._client_id, notify=self._notify)
            await self._stack.enter_async_context(publisher)
            self._open[name] = Sender(publisher, self._limits.get("messages"), self._limits.get("bytes"))
        return self._open[name]

    async def drain(self) -> list[Publisher]:
        """Wait until every message has been acknowledged. Returns the publishers."""
        publishers = [sender.publisher for sender in self._open.values()]
        for publisher in publishers:
            await publisher.drain()
        return publishers


class Sender:
    """A publisher that keeps under so many `messages` and bytes (`size`) a minute. None: as fast as the broker is."""

    def __init__(self, publisher: Publisher, messages: int | None, size: int | None) -> None:
        self.publisher = publisher
        self._message = 60 / _SHARE / messages if messages else 0.0  # seconds that one takes
        self._byte = 60 / _SHARE / size if size else 0.0
        self._due = 0.0  # when the next one may be sent

    async def send(self, topic: str, payload: bytes) -> None:
        """Hand a message over, once it may be sent. TransientError when the broker stays away."""
        now = time.monotonic()
        self._due = max(self._due, now) + max(self._message, len(payload) * self._byte)
        if self._due - now > _AHEAD_SECONDS:
            await asyncio.sleep(self._due - now)
        await self.publisher.send(topic, payload)
