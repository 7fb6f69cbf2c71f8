"""What a device signs to show that it has a private key, and how that is checked.

Each text begins with what it is for, so that a signature for one is of no use for another. Signatures are ECDSA with
SHA-256, in DER, written in base64.
"""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from headrace.errors import ConfigError
from headrace.identity import ca
from headrace.identity.ca import Pair

_DER, _PEM = serialization.Encoding.DER, serialization.Encoding.PEM
_EARLY = timedelta(hours=1)


def enrolment(serial: str, csr: str) -> bytes:
    """What the claim of a batch signs: that the device with this serial number asks for a certificate for this key."""
    return f"headrace enroll\n{serial}\n{csr}".encode()


def renewal(device: str, csr: str) -> bytes:
    """What a device signs with its certificate's key: that it asks for the next one, for another key."""
    return f"headrace reenroll\n{device}\n{csr}".encode()


def fingerprint(asked: str, where: str) -> str:
    """The SHA-256 of the key for which a certificate is asked, in hexadecimal digits. ConfigError as `ca.asked`."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return sha256(ca.asked(asked, where).public_bytes(_DER, form)).hexdigest()


def signed(certificate: str, text: bytes, signature: str) -> bool:
    """Whether the key of this certificate, in PEM, has signed this text."""
    try:
        key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(base64.b64decode(signature, validate=True), text, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def sign(key: str, text: bytes) -> str:
    """The signature of a text with a private key in PEM."""
    found = serialization.load_pem_private_key(key.encode(), password=None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise ConfigError("expected an ECDSA key")
    return base64.b64encode(found.sign(text, ec.ECDSA(hashes.SHA256()))).decode()


def claim(name: str, days: float) -> Pair:
    """A certificate for all devices of a batch, which no authority has signed: it is of no use at a broker."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"headrace-claim {name}"[:64])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return Pair(made.public_bytes(_PEM).decode(), text)
