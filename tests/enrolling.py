"""Devices as the tests play them: a key each, and what they ask hub for."""

from typing import Any

import orjson
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import select

from headrace.hub.client import device_path
from headrace.identity import proofs
from hub import tables
from tests.hubworld import Served

PEM = serialization.Encoding.PEM


class Key:
    """A device's private key."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        plain = serialization.NoEncryption()
        self.pem = self.private.private_bytes(PEM, serialization.PrivateFormat.PKCS8, plain).decode()

    def csr(self, name: str = "whoever") -> str:
        """A request with a name that counts for nothing."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self.private, hashes.SHA256())
        return made.public_bytes(PEM).decode()

    def has(self, certificate: str) -> bool:
        """Whether a certificate is for this key."""
        return x509.load_pem_x509_certificate(certificate.encode()).public_key() == self.private.public_key()


class Answer:
    """Status, headers and body of an answer."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self.status, self.headers = response.status, response.headers
        self.body: dict[str, Any] = orjson.loads(response.data)

    @property
    def error(self) -> str:
        """What was wrong."""
        return str(self.body["error"])


def ask(url: str, path: str, body: dict[str, Any]) -> Answer:
    """POST without any login, as a device does."""
    with urllib3.PoolManager(retries=False, timeout=20) as http:
        return Answer(http.request("POST", url + path, json=body))


def enroll(url: str, csr: str, token: str, **more: str) -> Answer:
    """Ask for the first certificate, with a token."""
    return ask(url, "/api/enroll", {"csr": csr, "token": token, **more})


def claim(url: str, csr: str, name: str, key: str, serial: str) -> Answer:
    """Ask for it with a claim and its key."""
    signature = proofs.sign(key, proofs.enrolment(serial, csr))
    return ask(url, "/api/enroll", {"csr": csr, "claim": name, "serial": serial, "signature": signature})


def reenroll(url: str, device: str, csr: str, key: Key) -> Answer:
    """Ask for the next certificate, with the key of the one that there is."""
    signature = proofs.sign(key.pem, proofs.renewal(device, csr))
    return ask(url, "/api/reenroll", {"id": device, "csr": csr, "signature": signature})


def state(hub: Served, device: str) -> str:
    """The state of a device."""
    return str(hub.admin.get(device_path(device))["state"])


def events(hub: Served, device: str) -> list[str]:
    """What the stream of events was told of a device, or is to be told."""
    with hub.database.read() as connection:
        found = select(tables.outbox.c.payload).where(tables.outbox.c.stream == "device_events")
        rows = [orjson.loads(text) for text in connection.execute(found.order_by(tables.outbox.c.number)).scalars()]
    return [row["event"] for row in rows if row["device"]["id"] == device]
