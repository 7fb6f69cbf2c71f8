"""What `headrace doctor` finds of an installation: its configuration, and the servers that this names."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from headrace import kafka
from headrace.config import Config, check
from headrace.contracts import files
from headrace.errors import ConfigError, HeadraceError, TransientError
from headrace.identity import tls
from headrace.operate import mqttprobe, provision
from headrace.protocol.names import raw_topic
from headrace.runtime.sockets import listening


class Finding(NamedTuple):
    """One thing looked at. `bad` means that it does not work so, `warning` that it is unsafe or will be tight."""

    level: Literal["good", "warning", "bad"]
    subject: str
    text: str
    remedy: str = ""


def installation(config: Config) -> Iterator[Finding]:
    """Whether a configuration is right, whether its servers answer, and what is unsafe. Yields as it finds."""
    yield from _config(config)
    yield _reach("MQTT", lambda: _mqtt(config))
    yield from _mqtt_open(config)
    yield _reach("Kafka", lambda: f"{config.kafka.bootstrap}, {kafka.probe(config.kafka)} broker(s)")
    yield from _kafka(config)
    yield _reach("registry", lambda: _registry(config))
    yield from _contracts(config)
    yield _reach("object store", lambda: _store(config))
    if config.hub.token is not None:
        yield from _hub(config)


def _config(config: Config) -> Iterator[Finding]:
    found = check.problems(config)
    yield from (Finding("bad", "configuration", problem) for problem in found)
    if not found:
        yield Finding("good", "configuration", f"streams: {', '.join(config.streams)}")


def _reach(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding("good", subject, look())
    except HeadraceError as e:
        remedy = "is it running, and is its address right? For the local stack: `headrace status`"
        return Finding("bad", subject, str(e), remedy)


def _mqtt(config: Config) -> str:
    m = config.mqtt
    if m.tls.enabled:
        found = tls.look(m.host, m.port, m.tls, "mqtt.tls", "mqtt.host")
        if found.refused:
            raise ConfigError(f"{m.host}:{m.port}: {found.refused}")
        if not listening(m.port, m.host):
            raise TransientError(f"{m.host}:{m.port}: no server listens there")
        if found.absent:
            raise ConfigError(
                f"{m.host}:{m.port}: it does not speak TLS ({found.absent}). Set mqtt.port to that of its TLS "
                "listener, usually 8883, or mqtt.tls.enabled to false"
            )
        return f"{m.host}:{m.port}: its certificate is good; the password was not tried"
    mqttprobe.connect(m.host, m.port, m.username, m.password.get_secret_value() if m.password else None)
    return f"{m.host}:{m.port}"


def _mqtt_open(config: Config) -> Iterator[Finding]:
    m = config.mqtt
    try:
        if not m.tls.enabled and mqttprobe.handshake(m.host, m.port, None, None) == 0:
            yield Finding(
                "warning", "MQTT", "anyone may connect without a password", "allow_anonymous false in mosquitto.conf"
            )
    except HeadraceError:
        return


def _registry(config: Config) -> str:
    from headrace.schema_registry.client import Registry

    with Registry(config.registry) as registry:
        registry.latest("_doctor")
    return config.registry.url


def _contracts(config: Config) -> Iterator[Finding]:
    from headrace.schema_registry.client import Registry

    try:
        with Registry(config.registry) as registry:
            for stream in config.streams:
                contract = files.find(config.contract_of(stream), config.contracts)
                if problems := registry.check(f"{raw_topic(stream)}-value", contract):
                    remedy = "`headrace contracts diff` says more, and what to do"
                    yield Finding("bad", f"contract of {stream}", f"is refused: {'; '.join(problems)}", remedy)
    except HeadraceError:  # said already: of the configuration, or of the registry
        return


def _store(config: Config) -> str:
    from headrace.lake import remote
    from headrace.store.open import open_store

    next(iter(open_store(config.store).list("_doctor/")), None)  # only a listing finds that a bucket is missing
    return f"{remote.where(config.store)}, bucket {config.store.bucket}"


def _hub(config: Config) -> Iterator[Finding]:
    from headrace.hub.client import Hub

    versions: dict[str, int] = {}
    yield _reach("hub", lambda: versions.update(Hub(config.hub).get("/api/broker/version")) or config.hub.url)
    if versions and versions["applied"] != versions["version"]:
        yield Finding(
            "warning",
            "agent beside the broker",
            f"hub's passwords have version {versions['version']}, and the broker has {versions['applied']}: devices "
            "that were revoked since then still get in, and new ones do not",
            "a moment later it has them; if not, see whether the agent runs: `headrace status`, and its log",
        )


def _kafka(config: Config) -> Iterator[Finding]:
    k = config.kafka
    if k.replication_factor < 3 or k.min_insync_replicas < 2:
        yield Finding(
            "warning",
            "copies in Kafka",
            f"replication factor {k.replication_factor}, min ISR {k.min_insync_replicas}: a power loss may "
            "take readings that were acknowledged",
            "fine on one machine; in production three brokers, factor 3 and min ISR 2",
        )
    wanted = {s.name: s for s in provision.topic_specs(config)}
    try:
        have = kafka.describe(k, wanted)
    except HeadraceError:
        return
    for name, spec in wanted.items():
        info = have.get(name)
        if info is None:
            yield Finding("bad", f"topic {name}", "is missing", "headrace provision")
        elif info.partitions != spec.partitions:
            text = f"has {info.partitions} partitions, the configuration says {spec.partitions}"
            yield Finding("bad", f"topic {name}", text, f"set partitions: {info.partitions} in the configuration")
        elif info.max_message_bytes < spec.max_message_bytes:
            text = f"takes {info.max_message_bytes} bytes, {spec.max_message_bytes} are needed"
            remedy = f"kafka-configs --alter --topic {name} --add-config max.message.bytes={spec.max_message_bytes}"
            yield Finding("bad", f"topic {name}", text, remedy)
    if len(have) == len(wanted):
        yield Finding("good", "topics", f"all {len(wanted)} there")
