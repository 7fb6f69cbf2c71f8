"""An intake for tests: messages go in, and Kafka's client is a list."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from bridge import routing
from bridge.decoders import formats
from bridge.delivery import Link, Record
from bridge.edgenodes.memory import EdgeNodes, Node
from bridge.intake import Intake
from bridge.lanes import Lanes
from headrace.config import Config
from headrace.contracts.files import find
from headrace.deadletters import Letter
from headrace.protocol.wire import texts
from headrace.runtime.metrics import BRIDGE_SKIPPED

ROW = {"event_time": 1_700_000_000_000_000, "ax": 1, "ay": 2, "az": 3, "gx": 0, "gy": 0, "gz": 0}


@dataclass
class Packet:
    topic: str
    payload: bytes
    qos: int = 1
    packet_id: int | None = 1
    duplicate: bool = False
    retain: bool = False
    subscription_ids: list[int] = field(default_factory=list)
    response_topic: str | None = None
    user_properties: list[tuple[str, str]] = field(default_factory=list)
    correlation_data: bytes | None = None
    content_type: str | None = None


@dataclass
class Produced:
    link: Link | None
    ticket: int
    topic: str
    key: bytes
    value: bytes
    headers: dict[str, bytes]


class Kafka:
    """As `Delivery`, as far as an intake sees it; `finish` is a delivery report."""

    def __init__(self, room: int = 1000) -> None:
        self.produced: list[Produced] = []
        self.qos0_in_flight = 0
        self.left = room
        self.room = asyncio.Event()
        self.failed: list[Exception] = []

    def produce(self, link: Link | None, ticket: int, records: Sequence[Record]) -> int:
        taken = records[: self.left]
        self.left -= len(taken)
        self.qos0_in_flight += len(taken) if link is None else 0
        self.produced += [Produced(link, ticket, r.topic, r.key, r.value, dict(texts(r.headers))) for r in taken]
        return len(taken)

    async def produce_waiting(self, link: Link | None, ticket: int, record: Record) -> None:
        if not self.left:
            await self.room.wait()
        self.produce(link, ticket, (record,))

    def wake(self) -> None:
        """Nothing sleeps here."""

    def fail(self, error: Exception) -> None:
        self.failed.append(error)


class Shelf:
    def __init__(self) -> None:
        self.shelved: list[Letter] = []

    async def put(
        self, letter: Letter, then: Callable[[Letter], Awaitable[None]], failed: Callable[[Exception], None]
    ) -> None:
        self.shelved.append(letter)
        await then(letter._replace(value=b"", headers=[*letter.headers, ("pointer", b"x")]))


class Wire:
    """As `Connection`, for a link to acknowledge on."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []
        self.sent: list[bytes] = []
        self.lost = False

    def acknowledge(self, packet_ids: list[int]) -> None:
        self.acknowledged += packet_ids

    def send(self, packets: list[bytes]) -> bool:
        if not self.lost:
            self.sent += packets
        return not self.lost


class World:
    """An intake with all that it needs."""

    def __init__(self, unrouted: tuple[str, ...] = ("sensors/#",), room: int = 1000, **more: Any) -> None:
        self.config = Config.model_validate({
            "streams": {
                "imu": {"routes": ["sensors/{device_id}/imu"]},
                "all": {"contract": "imu", "routes": [{"filter": "both/{device_id}/imu", "unknown_fields": "ignore"}]},
                "twin": {"contract": "imu", "routes": ["both/+/imu"]},
            },
            "max_message_bytes": 65_536,
            "bridge": {"unrouted": unrouted, "qos0_queue": 3},
            **more,
        })  # fmt: skip
        self.routing = routing.build(self.config)
        self.kafka, self.shelf, self.wire = Kafka(room), Shelf(), Wire()
        decoders = {r.where: formats.choice(find(self.config.contract_of(r.stream)), 7, r) for r in self.routing.routes}
        lanes = Lanes(self.routing, decoders, dict.fromkeys(self.config.streams, 65_536))
        self.wanted: list[Node] = []
        self.edges = EdgeNodes(self.config.bridge.births_bytes, self.wanted.append, lambda _: None)
        self.intake = Intake(self.config, lanes, self.kafka, self.shelf, self.edges)
        self.link = Link(self.wire)  # type: ignore[arg-type]

    def take(self, *packets: Packet) -> list[Produced]:
        before = len(self.kafka.produced)
        asyncio.run(self.intake.take(self.link, packets))  # type: ignore[arg-type]
        return self.kafka.produced[before:]


def dumps(**change: Any) -> bytes:
    return orjson.dumps({**ROW, **change})


def skipped(why: str) -> float:
    return float(BRIDGE_SKIPPED.labels(why)._value.get())
