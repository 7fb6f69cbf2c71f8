"""`headrace up --listen` on the real broker: TLS with the stack's own certificate, renewed without a restart."""

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from headrace.runtime.sockets import listening
from headrace.stack import certs, mosquitto, plan, ports
from headrace.stack.process import Process, launch, start_time
from headrace.stack.state import State
from tests import ownports
from tests.integration.test_closed_store import anything
from tests.waiting import stop_process, until

pytestmark = pytest.mark.integration
# CONNECT of MQTT 3.1.1 by nobody, and the first byte of the answer.
CONNECT, CONNACK = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x1e\x00\x03abc", b"\x20"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[plan.StackPlan]:
    binary = mosquitto.find()
    if binary is None:
        pytest.skip("Mosquitto is not installed")
    state = State(tmp_path / "state")
    listen = f"127.0.0.1:{ports.free(set())}"
    made = plan.make(state, ownports.wishes(listen=listen))
    spec = mosquitto.spec(made, binary)
    spec.prepare()
    with (tmp_path / "log").open("wb") as log:
        process: subprocess.Popen[bytes] = launch(spec.argv(), {**os.environ, **spec.env}, state.tmp, log)
    noted = {"pid": process.pid, "started": start_time(process.pid)}
    state.write_json("stack.json", {"state": "ready", "services": {"mosquitto": noted}})
    assert made.listen is not None
    port = made.listen.port
    try:
        until(lambda: listening(port), 20, (tmp_path / "log").read_text)
        yield made
    finally:
        stop_process(process, 10)


def connected(made: plan.StackPlan, host: str = "localhost") -> ssl.SSLSocket:
    """A device on the network that trusts our authority."""
    assert made.listen is not None
    trust = ssl.create_default_context(cafile=str(made.state.certs / "ca.pem"))
    plain = socket.create_connection(("127.0.0.1", made.listen.port), timeout=5)
    return trust.wrap_socket(plain, server_hostname=host)


def test_a_device_that_trusts_our_authority_gets_an_answer(broker: plan.StackPlan) -> None:
    for host in ("localhost", "127.0.0.1"):
        with connected(broker, host) as one:
            one.sendall(CONNECT)
            assert one.recv(1) == CONNACK
    with pytest.raises(ssl.SSLCertVerificationError):
        connected(broker, "elsewhere.example")


def outdated() -> ssl.SSLContext:
    """A client that speaks TLS 1.1 alone."""
    old = anything()
    old.set_ciphers("DEFAULT:@SECLEVEL=0")  # else OpenSSL itself does not offer it
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    return old


@pytest.mark.clause("EN 5.5-1")
def test_old_tls_and_no_tls_are_refused(broker: plan.StackPlan) -> None:
    assert broker.listen is not None
    with (
        socket.create_connection(("127.0.0.1", broker.listen.port), timeout=5) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)alert protocol.version"),
    ):
        outdated().wrap_socket(plain)
    with socket.create_connection(("127.0.0.1", broker.listen.port), timeout=5) as plain:
        plain.sendall(CONNECT)
        with suppress(ConnectionResetError):
            assert plain.recv(1) != CONNACK


def test_a_renewed_certificate_is_shown_and_connections_stay(broker: plan.StackPlan) -> None:
    with connected(broker) as before:
        old = before.getpeercert(binary_form=True)
        certs.keep(broker.state.certs, broker.certified, renew=True)
        assert certs.tell(broker.state)

        def shown() -> bytes | None:
            with connected(broker) as one:
                return one.getpeercert(binary_form=True)

        until(lambda: shown() != old, 10, "the old certificate is shown")
        before.sendall(CONNECT)
        assert before.recv(1) == CONNACK


def test_the_process_that_is_told_is_the_one_noted(broker: plan.StackPlan) -> None:
    """A process with the same id that started at another time gets no signal, which would end it."""
    other = subprocess.Popen(["sleep", "30"], start_new_session=True)
    broker.state.write_json("stack.json", {"services": {"mosquitto": {"pid": other.pid, "started": "another time"}}})
    assert not certs.tell(broker.state)
    assert Process(other.pid, start_time(other.pid)).alive
    other.send_signal(signal.SIGKILL)
    other.wait()
