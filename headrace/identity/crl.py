"""Lists of certificates that are not to be taken (CRLs, RFC 5280), as a broker reads them.

OpenSSL takes of two lists of an authority the one that begins later, and refuses everybody when it has no list of the
authority, or only one that has ended or begins in the future.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from headrace.errors import ConfigError
from headrace.identity.ca import Authority


class Crl(NamedTuple):
    """What a list says. `serials`: of all certificates in it; times in UTC."""

    number: int
    serials: frozenset[int]
    begins: datetime
    ends: datetime


def read(text: str, authority: str, where: str, now: datetime | None = None) -> Crl:
    """A list that is good now, signed by the authority with this certificate, both in PEM.

    ConfigError, beginning with `where`, says why it is not.
    """
    now = now or datetime.now(UTC)
    try:
        found = x509.load_pem_x509_crl(text.encode())
        issuer = x509.load_pem_x509_certificate(authority.encode())
    except ValueError:
        raise ConfigError(f"{where}: expected a list of revoked certificates, and the authority's, in PEM") from None
    try:
        signed = found.issuer == issuer.subject and found.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (InvalidSignature, ValueError, TypeError):
        signed = False
    if not signed:
        raise ConfigError(f"{where}: it is not signed by the authority {issuer.subject.rfc4514_string()}")
    try:
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, ValueError):
        raise ConfigError(f"{where}: it has no number") from None
    begins, ends = found.last_update_utc, found.next_update_utc
    if begins > now:
        raise ConfigError(
            f"{where}: it begins on {begins:%Y-%m-%d at %H:%M} UTC: correct the clock of hub, or this one"
        )
    if ends is None or ends <= now:
        raise ConfigError(f"{where}: it has ended")
    return Crl(number, frozenset(one.serial_number for one in found), begins, ends)


def closed() -> str:
    """A list in PEM with which a broker takes no certificate at all, until it has a real one."""
    return Authority.make("nobody", days=1).crl(0, ())


def can_sign(cert: str, where: str) -> None:
    """ConfigError unless the authority with this certificate in PEM may sign lists: else a broker refuses everybody."""
    try:
        usage = x509.load_pem_x509_certificate(cert.encode()).extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not usage.crl_sign:
        raise ConfigError(f"{where}: it may not sign lists of revoked certificates (keyUsage cRLSign). Have it made so")
