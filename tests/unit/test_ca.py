"""What openssl accepts and refuses of the certificates that our authority makes, and what we say of them."""

import shutil
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from headrace.errors import ConfigError
from headrace.identity import ca
from headrace.identity.ca import Authority, Pair
from headrace.protocol.names import is_identity

OURS = Authority.make("ours")
OTHER = Authority.make("other")


def files(folder: Path, pair: Pair, name: str) -> tuple[Path, Path]:
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_text(pair.cert)
    key.write_text(pair.key)
    return cert, key


def handshake(folder: Path, server: Pair, host: str, client: Pair | None = None) -> str:
    """The common name of the client as the server sees it; ssl.SSLError when one of them refuses the other."""
    ours = folder / "ca.pem"
    ours.write_text(OURS.pair.cert)
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(*files(folder, server, "server"))
    there.load_verify_locations(ours)
    there.verify_mode = ssl.CERT_REQUIRED if client else ssl.CERT_NONE
    here = ssl.create_default_context(cafile=str(ours))
    if client:
        here.load_cert_chain(*files(folder, client, "client"))
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[str] = []
    errors: list[Exception] = []

    def serve() -> None:
        plain, _ = listener.accept()
        try:
            with there.wrap_socket(plain, server_side=True) as one:
                shown = one.getpeercert() or {}
                subject: Any = shown.get("subject", ())
                seen.append(dict(pair for rdn in subject for pair in rdn).get("commonName", ""))
                one.sendall(b"1")
        except OSError as e:
            errors.append(e)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with (
            socket.create_connection(listener.getsockname(), timeout=5) as plain,
            here.wrap_socket(plain, server_hostname=host) as one,
        ):
            one.recv(1)
    finally:
        thread.join(5)
        listener.close()
    if errors:
        raise errors[0]
    return seen[0]


@pytest.mark.parametrize("host", ["stack.example", "127.0.0.1", "::1"])
def test_a_server_is_taken_by_each_of_its_names_and_addresses(tmp_path: Path, host: str) -> None:
    server = OURS.server("mqtt", ["stack.example", "127.0.0.1", "::1"])
    assert handshake(tmp_path, server, host) == ""
    assert ca.facts(server.cert, "it").names == ("stack.example", "127.0.0.1", "::1")


def test_a_server_under_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tmp_path, OURS.server("mqtt", ["stack.example"]), "mqtt")


def test_a_server_whose_time_is_over_is_refused(tmp_path: Path) -> None:
    late = OURS.server("mqtt", ["localhost"], days=-1)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(tmp_path, late, "localhost")
    assert any("it ended on" in words for words in ca.problems(late, OURS.pair.cert, "late"))


def test_a_server_of_another_authority_is_refused(tmp_path: Path) -> None:
    stranger = OTHER.server("mqtt", ["localhost"])
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        handshake(tmp_path, stranger, "localhost")
    assert ca.problems(stranger, OURS.pair.cert, "stranger") == ["it is not signed by ours"]


def test_a_client_is_known_by_its_common_name(tmp_path: Path) -> None:
    server = OURS.server("mqtt", ["localhost"])
    assert handshake(tmp_path, server, "localhost", OURS.client("headrace-bridge")) == "headrace-bridge"


def test_a_client_of_another_authority_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca|certificate verify failed"):
        handshake(tmp_path, OURS.server("mqtt", ["localhost"]), "localhost", OTHER.client("headrace-bridge"))


def test_a_client_is_no_server(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, OURS.client("localhost"), "localhost")


def device_key() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()
    plain = serialization.NoEncryption()
    return public, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


def test_a_device_keeps_its_key_and_gets_a_certificate_for_it(tmp_path: Path) -> None:
    public, private = device_key()
    pair = Pair(OURS.device("board-01", public), private)
    assert ca.problems(pair, OURS.pair.cert, "board-01") == []
    assert handshake(tmp_path, OURS.server("mqtt", ["localhost"]), "localhost", pair) == "board-01"


@pytest.mark.parametrize(
    "name", ["", "a/b", "$SYS", "%u", "a b", "a" * 65, "headrace", "Headrace-bridge", "board\n", "+", "#", "bordé"]
)
def test_a_name_that_a_broker_could_misread_gets_no_certificate(name: str) -> None:
    assert not is_identity(name)
    with pytest.raises(ConfigError, match="can't name a device"):
        OURS.device(name, device_key()[0])


def test_a_certificate_without_basic_constraints_is_no_authority(tmp_path: Path) -> None:
    """OpenSSL refuses what it signs, so we refuse to sign with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bare")])
    now = datetime.now(UTC)
    bare = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
    with pytest.raises(ConfigError, match="not the certificate of an authority"):
        Authority(Pair(bare.public_bytes(serialization.Encoding.PEM).decode(), pem), "bare")
    leaf = OURS.server("mqtt", ["localhost"])
    with pytest.raises(ConfigError, match="not the certificate of an authority"):
        Authority(leaf, "leaf")


def test_an_authority_needs_its_own_key() -> None:
    with pytest.raises(ConfigError, match="the key is not that of the certificate"):
        Authority(Pair(OURS.pair.cert, OTHER.pair.key))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_openssl_finds_nothing_to_complain_of(tmp_path: Path) -> None:
    root, _ = files(tmp_path, OURS.pair, "ca")
    cert, _ = files(tmp_path, OURS.server("mqtt", ["localhost"]), "mqtt")
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(root), str(cert)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("OK"), done


def test_nothing_outlives_its_authority() -> None:
    short = Authority.make("short", days=10)
    assert ca.facts(short.server("mqtt", ["localhost"]).cert, "it").ends == ca.facts(short.pair.cert, "ca").ends


def test_a_certificate_is_due_from_two_thirds_of_its_life() -> None:
    it = ca.facts(OURS.server("mqtt", ["localhost"], days=90).cert, "it")
    assert not it.due()
    assert not it.due(it.ends - timedelta(days=31))
    assert it.due(it.ends - timedelta(days=30))
    assert it.due(it.ends + timedelta(days=1))


def test_a_key_of_another_certificate_is_noticed() -> None:
    one, two = OURS.server("mqtt", ["localhost"]), OURS.server("mqtt", ["localhost"])
    assert ca.problems(Pair(one.cert, two.key), OURS.pair.cert, "it") == ["the key is not that of the certificate"]


def test_what_is_no_pem_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigError) as error:
        Authority(Pair(OURS.pair.cert, "secret words"), "certs/ca.key")
    assert str(error.value) == "certs/ca.key: expected a private key in PEM, not encrypted"
    with pytest.raises(ConfigError, match=r"certs/ca\.pem: expected a certificate in PEM"):
        ca.facts("nothing", "certs/ca.pem")
