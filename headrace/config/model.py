"""The whole configuration: connections, streams, and a section for each service."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from headrace.config.base import Port, Positive, Seconds, Section
from headrace.config.connect import Kafka, Mqtt, Registry, Store
from headrace.names import check_stream


class Route(Section):
    """An MQTT filter with named captures, `sensors/{device_id}/imu`: what matches goes to the stream."""

    filter: str
    unknown_fields: Literal["reject", "ignore"] = Field(
        "reject", description="a payload's field that the contract does not have: dead-letter it, or drop the field"
    )
    receipt: str = Field(
        "", description="topic that is told of each message once it is in Kafka, with captures: receipts/{device_id}"
    )


def _as_route(value: object) -> object:
    return {"filter": value} if isinstance(value, str) else value


class Stream(Section):
    """A contract in operation. A route may be written as its filter alone."""

    contract: str = Field("", description="name of the contract; the stream's own when empty")
    routes: tuple[Annotated[Route, BeforeValidator(_as_route)], ...] = ()
    partitions: Positive = Field(3, description="of its .raw and .clean topics; fixed once created")
    retention_hours: Positive = Field(168, description="of its .raw and .clean topics")


class Http(Section):
    """The health and metrics listener of a service: /livez, /readyz, /metrics. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: Port = 0


class Bridge(Section):
    """MQTT to Kafka."""

    client_id: str = Field("headrace-bridge", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    receive_maximum: Annotated[int, Field(ge=1, le=65535)] = Field(
        10_000, description="messages in flight, unacknowledged: the bridge's back-pressure"
    )
    session_expiry_seconds: Positive = Field(7 * 24 * 3600, description="how long the broker queues while we are away")
    keepalive_seconds: Annotated[int, Field(ge=5, le=65535)] = 30
    max_payload_bytes: Positive = Field(16 * 1024 * 1024, description="larger ones are refused by the broker")
    qos0_queue: Positive = Field(
        10_000, description="QoS 0 messages held while Kafka is away; further ones are counted and dropped"
    )
    shared_group: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_-]{0,64}$",
        description="the bridges of one group share the messages ($share/<group>/...); each has a client_id of its own",
    )
    leave: bool = Field(
        False, description="at SIGTERM unsubscribe, take what waits, end the session; false: it waits for a restart"
    )
    unrouted: tuple[str, ...] = Field(
        (), description="MQTT filters to subscribe to besides the routes'; what no route takes becomes a dead letter"
    )
    receipts: str = Field(
        "receipts/",
        pattern=r"^([A-Za-z0-9_.:@~-]{1,32}/){0,4}$",
        description="prefix of the topics to which devices may have receipts sent; empty: no receipts",
    )
    http: Http = Http()


class Clean(Section):
    """`<stream>.raw` to `<stream>.clean`."""

    group: str = "headrace-clean"
    streams: tuple[str, ...] = Field((), description="which to process; all when empty")
    lookback: Positive = Field(200_000, description="raw offsets a partition in which a repeated event id is dropped")
    batch: Positive = Field(10_000, description="messages at most in one poll")
    http: Http = Http()


class Archive(Section):
    """`<stream>.clean`, or any topic, to the lake. A batch is stored when the first of its limits is reached."""

    group: str = "headrace-archive"
    topics: tuple[str, ...] = Field((), description="which to store; every stream's .clean when empty")
    max_bytes: Positive = Field(128 * 1024 * 1024, description="of Kafka messages in one batch of one partition")
    max_records: Positive = 1_000_000
    max_event_span_hours: Seconds = Field(24.0 * 31, description="between the oldest and newest event time of a batch")
    max_age_seconds: Seconds = Field(300.0, description="since the batch's first record was read")
    idle_seconds: Seconds = Field(30.0, description="since the last record of the partition was read")
    memory_bytes: Positive = Field(512 * 1024 * 1024, description="of buffered messages, all partitions together")
    uploads: Positive = Field(4, description="files stored at the same time")
    compression_level: Annotated[int, Field(ge=1, le=19)] = 3
    batch: Positive = 10_000
    http: Http = Http()


class DeadLetters(Section):
    """Where bytes go that could not become a reading."""

    topic: str = "dead-letters"
    partitions: Positive = 3
    retention_hours: Positive = 24 * 90


class Config(Section):
    """The configuration of a Headrace installation: one file for its services and tools."""

    mqtt: Mqtt = Mqtt()
    kafka: Kafka = Kafka()
    registry: Registry = Registry()
    store: Store = Store()
    contracts: tuple[Path, ...] = Field((), description="folders of further contracts, before the shipped ones")
    streams: dict[str, Stream] = Field(default_factory=dict)
    dead_letters: DeadLetters = DeadLetters()
    max_message_bytes: Annotated[int, Field(ge=65_536)] = Field(
        2 * 1024 * 1024, description="of a .raw message; .clean and dead-letters take a little more"
    )
    bridge: Bridge = Bridge()
    clean: Clean = Clean()
    archive: Archive = Archive()

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        for name in self.streams:
            check_stream(name)
        for name in self.clean.streams:
            if name not in self.streams:
                raise ValueError(
                    f"clean.streams names {name!r}, which is not one of the streams: {', '.join(self.streams)}"
                )
        return self

    def contract_of(self, stream: str) -> str:
        """The name of the stream's contract."""
        return self.streams[stream].contract or stream
