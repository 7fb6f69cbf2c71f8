"""SeaweedFS of the local stack against another user of the same machine, who has no key and no certificate."""

import http.client
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigError
from headrace.stack import certs, store
from tests.secured.localstore import LocalStore, running
from tests.waiting import until

pytestmark = pytest.mark.integration

KEY, NOBODY = "closed/secret.txt", 65534
INNER = ("master", "filer", "admin")
GRPC = ("master.grpc", "volume.grpc", "filer.grpc", "s3.grpc", "admin.grpc")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    with running(tmp_path_factory.mktemp("closed") / "state") as it:
        it.open().put(KEY, b"untouched")
        yield it


def shell(server: LocalStore, command: str) -> str:
    """What SeaweedFS's own shell says, to the user `nobody` where we may become that; it waits where it is kept out."""
    p = server.ports
    to = [f"-master=127.0.0.1:{p['master']}.{p['master.grpc']}", f"-filer=127.0.0.1:{p['filer']}.{p['filer.grpc']}"]
    who: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    with subprocess.Popen(
        [str(store.find()), "-logtostderr=true", "shell", *to],
        cwd="/", env={"HOME": "/"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        **who,
    ) as process:  # fmt: skip
        try:
            said = process.communicate(f"{command}\nexit\n", timeout=3)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[0]
    return str(said)


@pytest.mark.clause("CR 2.1")
def test_the_shell_lists_nothing(server: LocalStore) -> None:
    said = shell(server, "fs.ls -l /buckets/headrace/closed/")
    assert "secret.txt" not in said
    assert "total" not in said


@pytest.mark.clause("CR 2.1")
def test_the_shell_deletes_nothing(server: LocalStore) -> None:
    shell(server, "fs.rm -r /buckets/headrace/closed")
    assert server.open().get(KEY) == b"untouched"


def asked(port: int, path: str, method: str, scheme: str, context: ssl.SSLContext | None = None) -> int:
    """The status of the answer to a request of a page of another site; 0 when the server hung up."""
    headers = {"Host": "evil.com", "Origin": "http://evil.com"}
    connection: http.client.HTTPConnection
    if scheme == "http":
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    else:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context or anything())
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def anything() -> ssl.SSLContext:
    """A client that trusts every server, and shows no certificate."""
    out = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    out.check_hostname = False
    out.verify_mode = ssl.CERT_NONE
    return out


@pytest.mark.clause("CR 2.1")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("name", "method", "path"),
    [
        ("master", "GET", "/dir/lookup?volumeId=1&read=yes"),  # hands out a token for the volume server
        ("master", "GET", "/dir/assign"),
        ("master", "GET", "/dir/status"),
        ("master", "GET", "/cluster/status"),
        ("master", "GET", "/col/delete?collection=headrace"),
        ("master", "GET", "/"),
        ("volume", "GET", "/"),
        ("volume", "GET", "/1,01637037d6"),
        ("volume", "DELETE", "/1,01637037d6"),
        ("volume", "GET", "/ui/index.html"),
        ("filer", "GET", "/buckets/headrace/closed/secret.txt"),
        ("filer", "DELETE", "/buckets?recursive=true"),
        ("filer", "GET", "/"),
        ("admin", "GET", "/"),
        ("admin", "GET", "/health"),
        ("admin", "GET", "/api/plugin/status"),
        ("admin", "GET", "/api/cluster/topology"),
    ],
)
def test_http_answers_nobody(server: LocalStore, name: str, method: str, path: str, scheme: str) -> None:
    assert asked(server.ports[name], path, method, scheme) in ({0, 401} if name == "volume" else {0, 400})
    assert server.open().get(KEY) == b"untouched"


@pytest.mark.clause("CR 2.1")
def test_s3_answers_nobody_without_keys(server: LocalStore) -> None:
    for method, path in (("GET", "/"), ("GET", f"/headrace/{KEY}"), ("DELETE", f"/headrace/{KEY}")):
        assert asked(server.ports["s3"], path, method, "http") == 403
    assert server.open().get(KEY) == b"untouched"


def refused(port: int, context: ssl.SSLContext) -> bool:
    """Whether a server with TLS hangs up on a client: in TLS 1.3 it does so after the handshake."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as one,
        ):
            one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            return one.recv(1) == b""
    except ssl.SSLError:
        return True


@pytest.mark.clause("CR 2.1")
@pytest.mark.parametrize("name", [*GRPC, *INNER])
def test_tls_without_the_stores_own_certificate_is_refused(server: LocalStore, name: str) -> None:
    assert refused(server.ports[name], anything())
    other = anything()  # what devices get is of another authority
    other.load_cert_chain(server.state.certs / "mqtt.pem", server.state.certs / "mqtt.key")
    assert refused(server.ports[name], other)
    own = anything()
    own.load_cert_chain(server.state.certs / "store" / "store.pem", server.state.certs / "store" / "store.key")
    assert name in INNER or not refused(server.ports[name], own), "else the test would prove nothing"


@pytest.mark.clause("CR 2.1")
@pytest.mark.parametrize("name", GRPC)
def test_grpc_without_tls_is_refused(server: LocalStore, name: str) -> None:
    with socket.create_connection(("127.0.0.1", server.ports[name]), timeout=5) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
        assert plain.recv(9)[3:4] != b"\x04", "a SETTINGS frame: it speaks gRPC with us"


def test_its_sockets_are_for_this_user_alone(server: LocalStore) -> None:
    """To connect takes the right to write. Those of filer and S3, without TLS, are in our folder."""

    def found() -> list[Path]:
        return [p for n in server.ports for p in Path("/tmp").glob(f"seaweedfs-*-{server.ports[n]}.sock")]

    until(lambda: len(found()) == len(GRPC), 10, found)
    assert all("-grpc-" in p.name and p.stat().st_mode & 0o077 == 0 for p in found())
    assert all((server.state.tmp / f"{name}.sock").is_socket() for name in ("filer", "s3"))
    assert server.state.path.stat().st_mode & 0o077 == 0


def test_a_file_of_another_user_in_the_place_of_its_socket_stops_its_start(
    server: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, *, missing_ok: bool) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", denied)
    with pytest.raises(ConfigError, match="another user has a file there"):
        store.claim(server.ports)
    store.tidy(server.ports)  # at the end of a stack it is no reason to fail


@pytest.mark.clause("CR 4.1")
def test_no_secret_stands_in_its_log(server: LocalStore) -> None:
    server.open().put("closed/another", b"1")
    for name, value in server.plan.secrets.items():
        assert value not in server.log, name
    for key in server.state.certs.rglob("*.key"):
        assert key.read_text().splitlines()[1] not in server.log


@pytest.mark.clause("CR 4.1")
def test_a_renewed_certificate_is_taken_without_a_restart(server: LocalStore) -> None:
    port, before = server.ports["filer"], shown(server.ports["filer"])
    certs.keep(server.state.certs, server.plan.certified, renew=True)
    until(lambda: shown(port) != before, 20, "the old certificate is shown")
    server.open().put("closed/renewed", b"1")
    assert server.open().get("closed/renewed") == b"1"


def shown(port: int) -> bytes:
    """The certificate that the server shows."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        anything().wrap_socket(plain, server_hostname="127.0.0.1") as one,
    ):
        return one.getpeercert(binary_form=True) or b""
