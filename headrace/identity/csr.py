"""Certificate requests (CSR, PKCS #10): made for a new key, and read, also as mbedTLS 2.28 writes them."""

import base64
import re
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# AlgorithmIdentifier of ECDSA with SHA-256, 384 or 512. RFC 5758 has it without parameters; mbedTLS 2.28 puts NULL
# there, which OpenSSL reads and cryptography does not. The signature does not cover it.
_WITH_NULL = re.compile(rb"\x30\x0c(\x06\x08\x2a\x86\x48\xce\x3d\x04\x03[\x02-\x04])\x05\x00")
_PEM = re.compile(r"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----(.*?)-----END", re.DOTALL)


class Request(NamedTuple):
    """Both in PEM: the private key, ECDSA on P-256 and not encrypted, and the request."""

    key: str
    csr: str


def make(identity: str) -> Request:
    """A new one. Whoever signs decides which name the certificate has; `identity` says which is wanted."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity)])
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode()
    return Request(text, signed.public_bytes(pem).decode())


def load(text: str) -> x509.CertificateSigningRequest:
    """The first request in a PEM text. ValueError when there is none."""
    found = _PEM.search(text)
    if found is None:
        raise ValueError("no certificate request")
    der = base64.b64decode("".join(found[1].split()), validate=True)
    return x509.load_der_x509_csr(_without_null(der))


def _without_null(der: bytes) -> bytes:
    """The same request, the parameters of its signature's algorithm left out if they are NULL."""
    start, end = _inside(der, 0)
    _, info_end = _inside(der, start)
    if end != len(der) or (found := _WITH_NULL.match(der, info_end)) is None:
        return der
    content = der[start:info_end] + b"\x30\x0a" + found[1] + der[found.end() :]
    length = len(content)
    size = bytes([length]) if length < 0x80 else b"\x82" + length.to_bytes(2, "big")
    if length in range(0x80, 0x100):
        size = b"\x81" + bytes([length])
    return b"\x30" + size + content


def _inside(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at `at` begins and ends. ValueError when there is none."""
    if len(der) < at + 2:
        raise ValueError("it ends too soon")
    first = der[at + 1]
    more = first & 0x7F if first & 0x80 else 0
    length = int.from_bytes(der[at + 2 : at + 2 + more], "big") if more else first
    return at + 2 + more, at + 2 + more + length
