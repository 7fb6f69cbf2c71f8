"""An authority of one's own: makes certificates for servers and clients, and says what is wrong with one.

Everything is PEM; keys are ECDSA on P-256. Who shows a client certificate is who its common name says, so only checked
names get in there: brokers take an empty one, `a/b`, `$SYS` or `%u` as they are, and of two the first.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headrace.errors import ConfigError
from headrace.identity import csr
from headrace.protocol.names import is_identity

CA_DAYS, SERVER_DAYS, CLIENT_DAYS = 3650, 397, 90
_EARLY = timedelta(hours=1)  # certificates begin in the past: the clocks of devices are never quite right
_KEY_BITS = 256
_SERVER, _CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


class Pair(NamedTuple):
    """A certificate and its private key, both in PEM, the key not encrypted."""

    cert: str
    key: str


class Facts(NamedTuple):
    """What a certificate says. `names`: host names and addresses; times in UTC."""

    name: str  # its common name
    issuer: str
    names: tuple[str, ...]
    begins: datetime
    ends: datetime
    serial: int
    is_ca: bool

    @property
    def due_from(self) -> datetime:
        """When two thirds of its life are over: time to renew it."""
        return self.begins + (self.ends - self.begins) * 2 / 3

    def due(self, now: datetime | None = None) -> bool:
        """Whether two thirds of its life are over, or all of it: time to renew it."""
        return (now or datetime.now(UTC)) >= self.due_from


class Revoked(NamedTuple):
    """A certificate that is not to be taken. `held`: for now only."""

    serial: int
    since: datetime
    held: bool = False


class Authority:
    """A certificate and its key that sign others; those of devices for `days`.

    ConfigError when the two don't belong together or are no authority's.
    """

    def __init__(self, pair: Pair, where: str = "the authority", days: float = CLIENT_DAYS) -> None:
        self.pair, self._days = pair, days
        self._cert, self._key = _certificate(pair.cert, where), _key(pair.key, where)
        if not _is_ca(self._cert):
            raise ConfigError(f"{where}: {_name(self._cert)} is not the certificate of an authority (basicConstraints)")
        if _public(self._cert.public_key()) != _public(self._key.public_key()):
            raise ConfigError(f"{where}: the key is not that of the certificate")

    @classmethod
    def make(cls, name: str, days: float = CA_DAYS) -> "Authority":
        """A new authority that signs itself. It may sign servers, clients, and authorities that sign those."""
        key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=1)
        cert = (
            _begun(name, key.public_key(), _subject(name), datetime.now(UTC) + timedelta(days=days))
            .add_extension(constraints, critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(Pair(_pem(cert), _pem_key(key)))

    def server(self, name: str, hosts: Sequence[str], days: float = SERVER_DAYS) -> Pair:
        """A certificate for the server `name` on these host names and addresses. Servers also show it to each other."""
        if not hosts:
            raise ConfigError(f"{name}: a server's certificate needs a host name or an address")
        key = ec.generate_private_key(ec.SECP256R1())
        return Pair(self._issue(name, key.public_key(), days, (_SERVER, _CLIENT), hosts), _pem_key(key))

    def client(self, name: str, days: float = CLIENT_DAYS) -> Pair:
        """A certificate for one of the services that log in with one: `name` may begin with `headrace`."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Pair(self._issue(name, key.public_key(), days, (_CLIENT,)), _pem_key(key))

    def device(self, identity: str, public_key: str) -> str:
        """A certificate for a device or a gateway, for its public key in PEM; the private one stays with the device.

        `public_key` may also be a request (CSR): who made it must have the private key, and nothing else in it counts.
        ConfigError for another key than ECDSA of 256 bits or more, and unless `identity` is one: 1 to 64 of A-Z, a-z,
        0-9, underscore and hyphen, not a service's.
        """
        if not is_identity(identity):
            raise ConfigError(
                f"{identity!r} can't name a device or a gateway: use 1 to 64 of A-Z, a-z, 0-9, _ and -, and do not "
                "begin with headrace, which is for the services"
            )
        return self._issue(identity, asked(public_key, identity), self._days, (_CLIENT,))

    def crl(self, number: int, revoked: Iterable[Revoked], now: datetime | None = None) -> str:
        """The list of certificates that are not to be taken, in PEM, signed. `number`: higher than that of the last.

        It ends when the authority does: brokers refuse everybody once a list has ended. It begins an hour ago, since
        a list that begins in the future, by the broker's clock, has them refuse everybody too.
        """
        begins = (now or datetime.now(UTC)) - _EARLY
        made = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._cert.subject)
            .last_update(begins)
            .next_update(self._cert.not_valid_after_utc)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(one.serial).revocation_date(one.since)
            if one.held:
                entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.certificate_hold), critical=False)
            made = made.add_revoked_certificate(entry.build())
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def _issue(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        days: float,
        purposes: Iterable[x509.ObjectIdentifier],
        hosts: Sequence[str] = (),
    ) -> str:
        # What outlives its authority is refused all the same, and would say that it is good for longer.
        until = min(datetime.now(UTC) + timedelta(days=days), self._cert.not_valid_after_utc)
        issued = (
            _begun(name, key, self._cert.subject, until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if hosts:
            issued = issued.add_extension(x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False)
        return _pem(issued.sign(self._key, hashes.SHA256()))


def facts(cert: str, where: str) -> Facts:
    """What the first certificate in the PEM text `cert` says. ConfigError, beginning with `where`: there is none."""
    it = _certificate(cert, where)
    try:
        found = it.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(str(n.value) for n in found if isinstance(n, x509.DNSName | x509.IPAddress))
    except x509.ExtensionNotFound:
        names = ()
    begins, ends = it.not_valid_before_utc, it.not_valid_after_utc
    return Facts(_name(it), _common(it.issuer), names, begins, ends, it.serial_number, _is_ca(it))


def problems(pair: Pair, ca: str, where: str, now: datetime | None = None) -> list[str]:
    """Why the pair is of no use with the authority `ca`, in words; empty when it is good now.

    ConfigError for text that is no PEM.
    """
    now = now or datetime.now(UTC)
    cert, authority = _certificate(pair.cert, where), _certificate(ca, where)
    out = []
    if _public(cert.public_key()) != _public(_key(pair.key, where).public_key()):
        out.append("the key is not that of the certificate")
    try:
        cert.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        out.append(f"it is not signed by {_name(authority)}")
    for it, whose in ((cert, "it"), (authority, f"its authority {_name(authority)}")):
        if now < it.not_valid_before_utc:
            out.append(f"{whose} begins on {it.not_valid_before_utc:%Y-%m-%d}")
        if now >= it.not_valid_after_utc:
            out.append(f"{whose} ended on {it.not_valid_after_utc:%Y-%m-%d}")
    return out


def outside(it: Facts, now: datetime | None = None) -> str:
    """Why a certificate does not count now, in words; empty when it does."""
    now = now or datetime.now(UTC)
    if now < it.begins:
        return f"it begins on {it.begins:%Y-%m-%d}"
    return f"it ended on {it.ends:%Y-%m-%d}" if now >= it.ends else ""


def asked(text: str, identity: str) -> ec.EllipticCurvePublicKey:
    """The key for which a certificate is asked, in PEM: a public key, or a request that its owner has signed.

    ConfigError for another key than ECDSA of 256 bits or more, and for a request that is not signed with its own key.
    """
    try:
        if "CERTIFICATE REQUEST" in text:
            request = csr.load(text)
            if not request.is_signature_valid:
                raise ConfigError(f"{identity}: the request is not signed with the key in it")
            key: object = request.public_key()
        else:
            key = serialization.load_pem_public_key(text.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{identity}: expected a certificate request or a public key in PEM") from None
    return _good(key, identity)


def key_of(cert: str, where: str) -> ec.EllipticCurvePublicKey:
    """The key of the first certificate in the PEM text `cert`. ConfigError as `asked`."""
    return _good(_certificate(cert, where).public_key(), where)


def _good(key: object, where: str) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.key_size < _KEY_BITS:
        raise ConfigError(f"{where}: expected an ECDSA key of {_KEY_BITS} bits or more, such as P-256")
    return key


def _begun(name: str, key: ec.EllipticCurvePublicKey, issuer: x509.Name, until: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(datetime.now(UTC), until) - _EARLY)
        .not_valid_after(until)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _common(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _name(cert: x509.Certificate) -> str:
    return _common(cert.subject)


def _is_ca(cert: x509.Certificate) -> bool:
    try:
        return cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _certificate(text: str, where: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        raise ConfigError(f"{where}: expected a certificate in PEM") from None


def _key(text: str, where: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError):  # the error's own words might hold a part of the key
        raise ConfigError(f"{where}: expected a private key in PEM, not encrypted") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{where}: expected an ECDSA key")
    return key


def _public(key: object) -> bytes:
    assert hasattr(key, "public_bytes")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_bytes(serialization.Encoding.DER, form))


def _pem(cert: x509.Certificate) -> str:
    return cert.public_bytes(serialization.Encoding.PEM).decode()


def _pem_key(key: ec.EllipticCurvePrivateKey) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
