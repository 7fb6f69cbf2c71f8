"""The whole configuration: connections, streams, and a section for each service."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from headrace.config.base import Port, Positive, Seconds, Section
from headrace.config.behaviour import Behaviour
from headrace.config.connect import HttpUrl, Kafka, Mqtt, Registry, Store, Tls
from headrace.config.oidc import Oidc
from headrace.config.route import Route, as_route
from headrace.protocol.names import FILES, UPLOADS, check_stream, clean_topic


class Stream(Section):
    """A contract in operation. A route may be written as its filter alone."""

    contract: str = Field("", description="name of the contract; the stream's own when empty")
    follows: str = Field(
        "", description="the stream that it takes the place of, with an incompatible contract: its view has both"
    )
    source: str = Field("", alias="from", description="the stream whose readings its rows are made of, by `transform`")
    routes: tuple[Annotated[Route, BeforeValidator(as_route)], ...] = ()
    partitions: Positive = Field(
        3, description="of its .raw and .clean topics; fixed once created. With `from`: as many as the other has"
    )
    retention_hours: Positive = Field(168, description="of its .raw and .clean topics")
    transform: Path | None = Field(
        None,
        description="a Python file with `def transform(df)`, which clean runs on the rows, or derive on those of "
        "`from`; or package.module:name",
    )
    calibration: Path | None = Field(
        None, description="a CSV file of offsets, gains and matrices by device and date, which clean applies before it"
    )
    files: bool = Field(
        False,
        description="take files of its readings, as the stream <name>_files of the same contract: docs/uploads.md",
    )

    @property
    def of_files(self) -> bool:
        """Whether its rows are those of uploaded files."""
        return self.source == UPLOADS

    @property
    def json_route(self) -> Route | None:
        """The first route for plain JSON with the contract's own names, by which our own commands publish readings.

        None when there is none.
        """
        return next((r for r in self.routes if r.as_contract), None)


class Http(Section):
    """The health and metrics listener of a service: /livez, /readyz, /metrics. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: Port = 0
    token: SecretStr | None = Field(
        None, description="bearer token for /metrics, and for what /readyz says of a failed check; open to all without"
    )
    token_file: Path | None = None
    hosts: tuple[str, ...] = Field(
        (), description="DNS names with a dot by which the service may be asked, beside those of Services (*.svc)"
    )


FOR_EVER = 2**32 - 1  # seconds until an MQTT 5 session ends: it does not


class Bridge(Section):
    """MQTT to Kafka."""

    client_id: str = Field(
        "headrace-bridge", pattern=r"^[A-Za-z0-9_-]{1,128}$",
        description="of the MQTT session; it begins with headrace, as no device's id does",
    )  # fmt: skip
    receive_maximum: Annotated[int, Field(ge=1, le=65535)] = Field(
        10_000, description="messages in flight, unacknowledged: the bridge's back-pressure"
    )
    session_expiry_seconds: Annotated[int, Field(ge=1, le=FOR_EVER)] = Field(
        7 * 24 * 3600,
        description=f"how long the broker keeps messages while the bridge is away; {FOR_EVER}: for ever",
    )
    keepalive_seconds: Annotated[int, Field(ge=5, le=65535)] = 30
    max_payload_bytes: Positive = Field(4 * 1024 * 1024, description="the broker refuses larger payloads")
    qos0_queue: Positive = Field(
        10_000, description="QoS 0 messages held while Kafka is away; further ones are counted and dropped"
    )
    shared_group: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_-]{0,64}$",
        description="the bridges of one group share the messages ($share/<group>/...); each has a client_id of its own",
    )
    leave: bool = Field(
        False, description="at SIGTERM unsubscribe, take what waits, end the session; false: keep it for a restart"
    )
    unrouted: tuple[str, ...] = Field(
        (), description="further MQTT filters to subscribe to; a message that matches no route becomes a dead letter"
    )
    dropped: tuple[str, ...] = Field(
        (), description="MQTT filters of an earlier configuration that the session may still have: it is rid of them"
    )
    receipts: str = Field(
        "receipts/",
        pattern=r"^([A-Za-z0-9_.:@~-]{1,32}/){0,4}$",
        description="prefix of the topics to which devices may have receipts sent; empty: no receipts",
    )
    rebirth_seconds: Annotated[float, Field(ge=0)] = Field(
        60.0, description="between two requests for a rebirth to one Sparkplug edge node; 0: none is asked for"
    )
    births_bytes: Positive = Field(
        64 * 1024 * 1024, description="memory for what births of Sparkplug say: about 250 bytes a metric"
    )
    http: Http = Http()


class ServeTls(Section):
    """A second listener, for HTTPS. Without a certificate there is none."""

    host: str = "127.0.0.1"
    port: Port = 8443
    cert_file: Path | None = Field(None, description="its certificate, and those between it and the authority, in PEM")
    key_file: Path | None = Field(None, description="its private key in PEM, not encrypted")


class Ingest(Section):
    """HTTP to Kafka: `POST /readings`, for devices without MQTT."""

    host: str = "127.0.0.1"
    port: Port = 8091
    tls: ServeTls = Field(ServeTls(port=8444), description="HTTPS, on a port of its own")
    max_body_bytes: Positive = Field(4 * 1024 * 1024, description="of a request")
    requests_per_second: Seconds = Field(50.0, description="of one device or gateway, in the long run")
    http: Http = Http()


class Clean(Section):
    """`<stream>.raw` to `<stream>.clean`."""

    group: str = "headrace-clean"
    streams: tuple[str, ...] = Field((), description="which to process; all when empty")
    lookback: Positive = Field(
        200_000, description="raw offsets a partition in which copies are found, and readings before (max_step)"
    )
    batch: Positive = Field(10_000, description="messages at most in one poll")
    http: Http = Http()


class Derive(Section):
    """`<stream>.clean` to the `.raw` of streams that are made of it, and the rows of files to theirs."""

    group: str = Field("headrace-derive", description="how its groups begin: each derived stream has its own")
    streams: tuple[str, ...] = Field((), description="which derived streams to make; all when empty")
    batch: Positive = Field(10_000, description="messages at most in one poll")
    ahead: Positive = Field(
        2_000_000, description="rows of files in a partition that are not in the lake yet, until no more are sent"
    )
    http: Http = Http()


class Archive(Section):
    """`<stream>.clean`, or any topic, to the lake. A batch is stored when the first of its limits is reached."""

    group: str = "headrace-archive"
    topics: tuple[str, ...] = Field((), description="which to store; every stream's .clean when empty")
    max_bytes: Positive = Field(12 * 1024 * 1024, description="of Kafka messages in one batch of one partition")
    max_records: Positive = 1_000_000
    max_event_span_hours: Seconds = Field(24.0 * 31, description="between the oldest and newest event time of a batch")
    max_age_seconds: Seconds = Field(300.0, description="since Kafka took the first record, or up to 1 s less")
    idle_seconds: Seconds = Field(30.0, description="since the last record of the partition was read")
    memory_bytes: Positive = Field(24 * 1024 * 1024, description="of buffered messages, all partitions together")
    uploads: Positive = Field(4, description="files stored at the same time")
    compression_level: Annotated[int, Field(ge=1, le=19)] = 3
    batch: Positive = 10_000
    http: Http = Http()


class Compact(Section):
    """Many small files of the lake become few large ones, sorted by device and time: docs/lake.md."""

    enabled: bool = Field(True, description="false: the service compact does nothing; the command still works")
    every_seconds: Seconds = Field(300.0, description="between the beginnings of two rounds")
    grace_seconds: Annotated[float, Field(ge=0)] = Field(
        3600.0, description="how long a replaced file stays, for queries that have begun"
    )
    files: Annotated[int, Field(ge=2)] = Field(
        12, description="small files of a date that are merged together, while rows of that date still come"
    )
    target_bytes: Annotated[int, Field(gt=0, le=512 * 1024 * 1024)] = Field(
        128 * 1024 * 1024, description="of a file, at most: what is larger together stays apart"
    )
    memory_bytes: Annotated[int, Field(ge=16 * 1024 * 1024)] = Field(
        32 * 1024 * 1024, description="of rows in memory while they are sorted; what is more goes to a temporary folder"
    )
    http: Http = Http()


class Copy(Section):
    """One topic to another, exactly once: each record once for a reader that goes by positions, as the archive does."""

    source: str = Field("", alias="from", description="the topic to copy, such as imu.clean")
    target: str = Field("", alias="to", description="the topic that the copies go to, such as imu_copy.clean")
    group: str = "headrace-copy"
    batch: Positive = Field(10_000, description="messages at most in one poll")
    http: Http = Http()


class DevicesCa(Section):
    """The authority that signs the certificates of devices: of its own, as a broker lets in all whom it has signed."""

    cert_file: Path | None = Field(None, description="its certificate, in PEM")
    key_file: Path | None = Field(None, description="its private key, ECDSA, in PEM, not encrypted")
    days: Annotated[float, Field(gt=0, le=825)] = Field(
        90.0, description="for which a device's certificate is good; it is renewed from two thirds of them"
    )


class Serve(Section):
    """The service hub itself: where it listens, where it keeps its state, and the tokens that it takes from the start.

    Secrets that it can't do without; further tokens are made through its API.
    """

    host: str = "127.0.0.1"
    port: Port = 8090
    tls: ServeTls = Field(ServeTls(), description="HTTPS, on a port of its own")
    hosts: tuple[str, ...] = Field(
        (), description="names by which clients call it, beside localhost, IP addresses and the host in hub.url"
    )
    database: SecretStr | None = Field(
        None, description="sqlite:////PATH, for one hub; postgresql://USER:PASSWORD@HOST/NAME, for several"
    )
    database_file: Path | None = None
    admin_token: SecretStr | None = Field(None, description="of the first admin")
    admin_token_file: Path | None = None
    broker_token: SecretStr | None = Field(None, description="of the agent beside the MQTT broker")
    broker_token_file: Path | None = None
    oidc: Oidc | None = Field(None, description="whose tokens are taken too; none: hub's own alone")
    devices_ca: DevicesCa = Field(DevicesCa(), description="without: no certificates for devices")
    watch: dict[str, HttpUrl] = Field(
        default_factory=dict,
        description="URLs of /metrics and /readyz of the services that the console shows, by name (bridge: ...); a "
        "name with several addresses is asked at each. All take the token of hub.serve.http",
    )
    http: Http = Http()


class Hub(Section):
    """The registry of devices and gateways: where it is, and the token with which commands and agents call it."""

    url: HttpUrl = "http://127.0.0.1:8090"
    token: SecretStr | None = None
    token_file: Path | None = None
    tls: Tls = Field(Tls(), description="for a URL that begins with https://")
    timeout_seconds: Seconds = 10.0
    behaviour: Behaviour = Behaviour()
    serve: Serve = Serve()


class DeadLetters(Section):
    """The topic for bytes that could not become a reading."""

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
    ingest: Ingest = Ingest()
    clean: Clean = Clean()
    derive: Derive = Derive()
    archive: Archive = Archive()
    compact: Compact = Compact()
    copying: Copy = Field(Copy(), alias="copy")
    hub: Hub = Hub()

    @field_validator("streams")
    @classmethod
    def _check_names(cls, streams: dict[str, Stream]) -> dict[str, Stream]:
        for name in streams:
            check_stream(name)
        streams = _with_files(streams)
        return {name: _as_source(it, streams) for name, it in streams.items()}

    def contract_of(self, stream: str) -> str:
        """The name of the stream's contract."""
        return self.streams[stream].contract or stream

    def lineage(self, stream: str) -> tuple[str, ...]:
        """The stream and those that follow it, and so on: oldest first."""
        found = [stream]
        for one in found:  # it grows meanwhile
            found += [name for name, it in self.streams.items() if it.follows == one and name not in found]
        return tuple(found)

    def files_of(self, stream: str) -> str:
        """The stream that has the rows of files of this one's readings; empty for none."""
        return stream + FILES if self.streams[stream].files else ""

    @property
    def cleaned(self) -> tuple[str, ...]:
        """The streams that clean processes."""
        return self.clean.streams or tuple(self.streams)

    @property
    def derived(self) -> tuple[str, ...]:
        """The streams that derive makes."""
        return self.derive.streams or tuple(name for name, it in self.streams.items() if it.source)

    def group_of(self, derived: str) -> str:
        """The consumer group by which a derived stream is made."""
        return f"{self.derive.group}-{derived}"

    @property
    def archived(self) -> tuple[str, ...]:
        """The topics that the archive stores."""
        return self.archive.topics or tuple(map(clean_topic, self.streams))


def _with_files(streams: dict[str, Stream]) -> dict[str, Stream]:
    """The streams, with those of files, and the stream of uploads that these are made of."""
    out = dict(streams)
    for name, it in streams.items():
        if not it.files:
            continue
        if it.source:
            raise ValueError(f"{name} has `from`, so its rows are made of readings: it takes no files. Remove `files`")
        out.setdefault(UPLOADS, Stream())
        if name + FILES in streams:
            if not streams[name + FILES].of_files:
                raise ValueError(f"{name} takes files, which would be {name}{FILES}: there is such a stream. Rename it")
            continue  # written out, as the stack does
        also = {"contract": it.contract or name, "source": UPLOADS, "files": False, "routes": (), "follows": ""}
        kept = {key: getattr(it, key) for key in ("retention_hours", "transform", "calibration")}
        out[check_stream(name + FILES)] = Stream().model_copy(update={**kept, **also})
    return out


def _as_source(it: Stream, streams: dict[str, Stream]) -> Stream:
    """The stream, with the partitions of the one that it is made of, or that one is made of, where it names none."""
    at, seen = it, 0
    while "partitions" not in at.model_fields_set and at.source in streams and seen <= len(streams):
        at, seen = streams[at.source], seen + 1
    return it if at is it else it.model_copy(update={"partitions": at.partitions})
