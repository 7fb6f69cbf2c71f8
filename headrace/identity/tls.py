"""TLS settings as Python's ssl takes them, and what a refusal means in terms of our settings."""

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from headrace.config.connect import Tls
from headrace.errors import ConfigError

_LOOK_SECONDS = 3.0
_ALERT_SECONDS = 0.5  # to wait for an alert: in TLS 1.3 it comes after the client's handshake has succeeded
_EXPIRED, _NOT_YET, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64  # OpenSSL's X509_V_ERR_ codes
# The alerts of RFC 8446, section 6.2, that are about a certificate, in OpenSSL's words.
_ALERT = re.compile(
    r"alert (certificate required|handshake failure|no certificate|bad certificate|unsupported certificate|"
    r"certificate revoked|certificate expired|certificate unknown|unknown ca|access denied|decrypt error)"
)


class Look(NamedTuple):
    """What a second look at a server found. Both empty: TLS was agreed on, and no certificate was refused."""

    refused: str = ""  # whose certificate is refused, why, and the remedy
    absent: str = ""  # why TLS failed otherwise: no server listens, or it does not speak TLS


def client_context(tls: Tls, where: str) -> ssl.SSLContext | None:
    """The context for a client; None when TLS is off. ConfigError, beginning with `where`, for unreadable files."""
    return context(tls, where) if tls.enabled else None


def context(tls: Tls, where: str) -> ssl.SSLContext:
    """The same, whether or not TLS is on: for a URL that says so itself, such as the registry's."""
    try:
        out = ssl.create_default_context(cafile=str(tls.ca_file) if tls.ca_file else None)
        if tls.cert_file is not None:
            # Without a password OpenSSL would ask for that of an encrypted key on the terminal, and wait.
            out.load_cert_chain(str(tls.cert_file), str(tls.key_file) if tls.key_file else None, password="")
    except (OSError, ssl.SSLError) as e:
        files = ", ".join(str(f) for f in (tls.ca_file, tls.cert_file, tls.key_file) if f is not None)
        raise ConfigError(
            f"{where}: {files}: expected certificates in PEM, and their private key, not encrypted: {e}"
        ) from None
    out.check_hostname = tls.verify_hostname
    return out


def server_context(cert_file: Path, key_file: Path, where: str) -> ssl.SSLContext:
    """The context of a server that asks for no client certificate. ConfigError for files that are of no use."""
    out = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        out.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ssl.SSLError) as e:
        raise ConfigError(
            f"{where}: {cert_file}, {key_file}: expected a certificate in PEM, and its private key, not encrypted: {e}"
        ) from None
    return out


def authorities(tls: Tls) -> Path | None:
    """The authorities to trust, for clients without Python's ssl: a file or a folder; None when none is known.

    The given CA, else the system's, as Python's ssl finds them: SSL_CERT_FILE counts.
    """
    system = ssl.get_default_verify_paths()
    found = tls.ca_file or system.cafile or system.capath
    return Path(found) if found is not None else None


def refusal(error: BaseException, tls: Tls, setting: str, address: str) -> str:
    """Which certificate is refused, why, and the remedy, in words; empty when `error` is about something else.

    `setting` names the TLS settings (mqtt.tls), `address` the setting with the server's name (mqtt.host). Another
    attempt would be refused too.
    """
    for e in _chain(error):
        if isinstance(e, ssl.SSLCertVerificationError):
            return _theirs(e, setting, address)
    return next((words for e in _chain(error) if (words := alert(str(e), tls, setting))), "")


def alert(words: str, tls: Tls, setting: str) -> str:
    """What the server's alert in OpenSSL's `words` says about the client's certificate; empty when it says nothing."""
    found = _ALERT.search(words.lower().replace("_", " "))
    if found is None:
        return ""
    files = f"{setting}.cert_file and {setting}.key_file"
    if tls.cert_file is None:
        return f"it wants a client certificate ({found[1]}). Set {files}"
    return f"it refuses the client certificate ({found[1]}). Have {files} issued by an authority that it trusts"


def look(host: str, port: int, tls: Tls, setting: str, address: str) -> Look:
    """Try TLS with the server once, when a client did not say why it failed. Takes seconds at most.

    `setting` and `address` as for `refusal`.
    """
    agreed = False
    try:
        with (
            socket.create_connection((host, port), timeout=_LOOK_SECONDS) as plain,
            context(tls, setting).wrap_socket(plain, server_hostname=host) as secured,
        ):
            agreed = True
            secured.settimeout(_ALERT_SECONDS)
            secured.recv(1)
    except OSError as e:
        if why := refusal(e, tls, setting, address):
            return Look(refused=why)
        if not agreed:
            return Look(absent=str(e) or type(e).__name__)
    return Look()


def refused(error: BaseException, host: str, port: int, tls: Tls, setting: str, address: str) -> str:
    """`refusal`; when the error says too little, what a second look finds. Empty when TLS is off.

    A connection that broke off may have hidden the server's answer. Takes seconds at most.
    """
    if not tls.enabled:
        return ""
    return refusal(error, tls, setting, address) or look(host, port, tls, setting, address).refused


def split(address: str, port: int = 443) -> tuple[str, int]:
    """The host and the port of host:port. IPv6 addresses are written in brackets."""
    host, colon, number = address.rpartition(":")
    if not colon or address.endswith("]"):
        return address.strip("[]"), port
    return host.strip("[]"), int(number)


def _theirs(e: ssl.SSLCertVerificationError, setting: str, address: str) -> str:
    if e.verify_code == _EXPIRED:
        remedy = f"Renew it at the server, or correct this machine's clock; see {setting}"
    elif e.verify_code == _NOT_YET:
        remedy = f"Correct the clock of this machine, or of the authority that issued it; see {setting}"
    elif e.verify_code in {_OTHER_HOST, _OTHER_ADDRESS}:
        remedy = f"Correct {address} to a name in the certificate, or have one issued for this name"
    else:
        remedy = f"Set {setting}.ca_file to the certificate of the authority that issued it"
    return f"its certificate is refused: {e.verify_message.rstrip('.')}. {remedy}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and the errors that it wraps, which libraries keep in several ways."""
    waiting, seen = [error], set()
    while waiting:
        e = waiting.pop(0)
        if id(e) in seen:
            continue
        seen.add(id(e))
        yield e
        inner = (e.__cause__, e.__context__, getattr(e, "reason", None), *e.args)
        waiting += [i for i in inner if isinstance(i, BaseException)]
