"""A Kafka of one's own with a listener for each way in: TLS good and bad, client certificates, SASL."""

import base64
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from headrace import kafka
from headrace.config.connect import Kafka as Settings
from headrace.errors import HeadraceError
from headrace.stack import download, java, ports
from headrace.stack.kafka import LOGGING
from tests.secured.certs import Certs, Pair
from tests.waiting import stop_process

HOST = "127.0.0.1"
PASSWORDS = {"alice": "alice-secret", "bob": "bob-secret"}
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


class Listener:
    """A way in. `settings` are Kafka's own, without the prefix of the listener; `advertised` may be a proxy's port."""

    def __init__(self, protocol: str, settings: Mapping[str, object] | None = None, advertised: int = 0) -> None:
        self.protocol = protocol
        self.settings = dict(settings or {})
        self.advertised = advertised


def tls(pair: Pair, ca: Path | None = None, auth: str = "none") -> dict[str, object]:
    """Settings of a listener that shows this certificate, and asks clients for theirs where `auth` is "required"."""
    store = pair.cert.with_suffix(".keystore.pem")
    store.write_bytes(pair.key.read_bytes() + pair.cert.read_bytes())
    out: dict[str, object] = {
        "ssl.keystore.type": "PEM", "ssl.keystore.location": store, "ssl.client.auth": auth,
    }  # fmt: skip
    if ca is not None:
        out |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": ca}
    return out


def plain() -> dict[str, object]:
    """Settings of a listener with SASL PLAIN."""
    users = " ".join(f'user_{u}="{p}"' for u, p in PASSWORDS.items())
    return {"sasl.enabled.mechanisms": "PLAIN", "plain.sasl.jaas.config": f"{_PLAIN} required {users};"}


def scram() -> dict[str, object]:
    """Settings of a listener with SCRAM-SHA-512."""
    return {"sasl.enabled.mechanisms": "SCRAM-SHA-512", "scram-sha-512.sasl.jaas.config": f"{_SCRAM} required;"}


def bearer(issuer: str, audience: str = "kafka") -> dict[str, object]:
    """Settings of a listener with OAUTHBEARER, for tokens of an issuer whose keys are at <issuer>/jwks."""
    package = "org.apache.kafka.common.security.oauthbearer"
    return {
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        "oauthbearer.sasl.jaas.config": f"{package}.OAuthBearerLoginModule required;",
        "oauthbearer.sasl.server.callback.handler.class": f"{package}.OAuthBearerValidatorCallbackHandler",
        "oauthbearer.sasl.oauthbearer.jwks.endpoint.url": f"{issuer}/jwks",
        "oauthbearer.sasl.oauthbearer.expected.audience": audience,
        "oauthbearer.sasl.oauthbearer.expected.issuer": issuer,
        "connections.max.reauth.ms": 3_600_000,  # a connection ends with its token, unless it shows another in time
    }


def allowed(issuer: str) -> dict[str, str]:
    """The system property that lets Kafka ask the issuer for its keys."""
    return {"org.apache.kafka.sasl.oauthbearer.allowed.urls": f"{issuer}/jwks"}


def tls_listeners(certs: Certs) -> dict[str, Listener]:
    """A listener for each certificate, and two that ask for the client's."""
    out = {name: Listener("SSL", tls(pair)) for name, pair in certs.servers.items()}
    out["mutual"] = Listener("SSL", tls(certs.servers["good"], certs.ca, "required"))
    out["plain"] = Listener("SASL_SSL", {**tls(certs.servers["good"]), **plain()})
    out["scram"] = Listener("SASL_SSL", {**tls(certs.servers["good"]), **scram()})
    return out


class Server:
    """A running Kafka: `address` of each listener, "inner" being one without TLS."""

    def __init__(self, folder: Path, listeners: Mapping[str, Listener], system: Mapping[str, str]) -> None:
        self._folder, self._listeners, self._system = folder, {"inner": Listener("PLAINTEXT"), **listeners}, system
        taken: set[int] = set()
        self._controller = ports.free(taken)
        self._ports = {name: ports.free(taken) for name in self._listeners}
        self._part = download.parts()["kafka"]
        download.fetch([self._part], lambda _name, _bytes: None)
        self._process: subprocess.Popen[bytes] | None = None

    def address(self, listener: str) -> str:
        """host:port of a listener."""
        return f"{HOST}:{self._ports[listener]}"

    def start(self) -> None:
        """Start it, formatted where it is new, and wait until it answers."""
        (self._folder / "log4j2.yaml").write_text(LOGGING)
        properties = self._folder / "server.properties"
        properties.write_text(self._properties())
        java_path = [str(java.find()), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
        tail = [f"-Dlog4j2.configurationFile={self._folder / 'log4j2.yaml'}", "-cp", f"{self._part.folder}/*"]
        if not (self._folder / "data" / "meta.properties").is_file():
            cluster = base64.urlsafe_b64encode(b"headrace-secured").decode().rstrip("=")
            scram_users = [
                word for u, p in PASSWORDS.items() for word in ("--add-scram", f"SCRAM-SHA-512=[name={u},password={p}]")
            ]
            command = [*java_path, *tail, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
            subprocess.run([*command, *scram_users], check=True, capture_output=True, timeout=600)
        flags = [f"-D{name}={value}" for name, value in self._system.items()]
        with (self._folder / "kafka.log").open("ab") as log:
            command = [*java_path, "-Xmx384m", *flags, *tail, "kafka.Kafka", str(properties)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 600
        while True:
            try:
                kafka.probe(Settings(bootstrap=self.address("inner")))
            except HeadraceError:
                if self._process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    raise AssertionError((self._folder / "kafka.log").read_text()[-3000:]) from None
                time.sleep(0.2)
            else:
                return

    def stop(self) -> None:
        """Stop it; its data stays."""
        if self._process is None:
            return
        stop_process(self._process, 30)
        self._process = None

    def _properties(self) -> str:
        kinds = {name.upper(): it.protocol for name, it in self._listeners.items()} | {"CONTROLLER": "PLAINTEXT"}
        ways = ",".join(f"{name.upper()}://{self.address(name)}" for name in self._listeners)
        told = ",".join(
            f"{name.upper()}://{HOST}:{it.advertised or self._ports[name]}" for name, it in self._listeners.items()
        )
        settings: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{self._controller}",
            "listeners": f"{ways},CONTROLLER://{HOST}:{self._controller}",
            "advertised.listeners": told,
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in kinds.items()),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "INNER",
            "log.dirs": self._folder / "data",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 2,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "log.cleaner.dedupe.buffer.size": 16 << 20,
            "num.network.threads": 1,
            "num.io.threads": 2,
            "background.threads": 2,
            # Everything is allowed but what a test's ACL forbids; without SASL everything.
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "true",
        }
        for name, listener in self._listeners.items():
            settings |= {f"listener.name.{name}.{key}": value for key, value in listener.settings.items()}
        return "".join(f"{key}={value}\n" for key, value in settings.items())


@contextmanager
def running(
    folder: Path, listeners: Mapping[str, Listener], system: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A Kafka for as long as the block lasts."""
    it = Server(folder, listeners, system or {})
    it.start()
    try:
        yield it
    finally:
        it.stop()
