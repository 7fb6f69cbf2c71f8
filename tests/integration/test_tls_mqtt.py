"""A real Mosquitto with TLS: the bridge's client and the tools' take a good certificate and refuse the others."""

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from headrace import mqtt
from headrace.config.connect import Mqtt, Tls
from headrace.errors import ConfigError, TransientError
from headrace.simulation.device import Publisher
from tests.secured import mosquitto
from tests.secured.certs import Certs, Pair
from tests.secured.mosquitto import Server

pytestmark = [
    pytest.mark.integration,
    # paho leaves the socket of a handshake that failed to the collector
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"),
]
SESSION = mqtt.Session("tls-test", 60, 30, 100, 10_000)


@pytest.fixture(scope="module")
def server(certs: Certs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mosquitto.running(tmp_path_factory.mktemp("mosquitto"), certs) as it:
        yield it


async def bridge(cfg: Mqtt) -> None:
    (await mqtt.connect(cfg, SESSION)).abort()


async def device(cfg: Mqtt) -> None:
    async with Publisher(cfg, "tls-device", patience=5) as publisher:
        await publisher.send("a/b", b"{}")


@pytest.fixture(params=[bridge, device])
def client(request: pytest.FixtureRequest) -> Iterator[Callable[[Mqtt], None]]:
    use: Callable[[Mqtt], Awaitable[None]] = request.param

    def run(cfg: Mqtt) -> None:
        async def main() -> None:
            await use(cfg)

        asyncio.run(main())

    yield run
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def settings(ca: Path | None, pair: Pair | None = None, *, verify_hostname: bool = True) -> Tls:
    cert, key = pair or (None, None)
    return Tls(enabled=True, ca_file=ca, cert_file=cert, key_file=key, verify_hostname=verify_hostname)


Client = Callable[[Mqtt], None]


def test_a_good_certificate_is_taken(server: Server, certs: Certs, client: Client) -> None:
    client(Mqtt(port=server.ports["good"], tls=settings(certs.ca)))
    client(Mqtt(host="localhost", port=server.ports["good"], tls=settings(certs.ca)))
    client(Mqtt(port=server.ports["mutual"], tls=settings(certs.ca, certs.client)))
    client(Mqtt(port=server.ports["elsewhere"], tls=settings(certs.ca, verify_hostname=False)))


@pytest.mark.parametrize(
    ("listener", "words"),
    [
        ("unknown", "unable to get local issuer certificate. Set mqtt.tls.ca_file"),
        ("expired", "certificate has expired. Renew it at the server"),
        ("elsewhere", "certificate is not valid for '127.0.0.1'. Correct mqtt.host"),
        (
            "mutual",
            "it wants a client certificate (certificate required). Set mqtt.tls.cert_file and mqtt.tls.key_file",
        ),
    ],
)
def test_a_bad_one_is_refused_with_the_remedy(
    listener: str, words: str, server: Server, certs: Certs, client: Client
) -> None:
    with pytest.raises(ConfigError) as error:
        client(Mqtt(port=server.ports[listener], tls=settings(certs.ca)))
    assert f"127.0.0.1:{server.ports[listener]}" in str(error.value)
    assert words in str(error.value)


def test_without_a_ca_file_the_systems_authorities_count(server: Server, client: Client) -> None:
    with pytest.raises(ConfigError, match=r"Set mqtt\.tls\.ca_file"):
        client(Mqtt(port=server.ports["good"], tls=settings(None)))


@pytest.mark.parametrize("whose", ["stranger", "late"])
def test_a_client_certificate_that_the_broker_refuses_is_named(
    whose: str, server: Server, certs: Certs, client: Client
) -> None:
    pair = {"stranger": certs.stranger, "late": certs.late}[whose]
    with pytest.raises(ConfigError, match=r"refuses the client certificate .*mqtt\.tls\.cert_file"):
        client(Mqtt(port=server.ports["mutual"], tls=settings(certs.ca, pair)))


def test_a_listener_without_tls_is_waited_for(server: Server, certs: Certs, client: Client) -> None:
    """It may be the broker's own start: to wait and say so serves both."""
    with pytest.raises(TransientError):
        client(Mqtt(port=server.ports["inner"], tls=settings(certs.ca)))
