"""TLS settings as Python's ssl wants them, and what its refusals mean in our terms."""

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from headrace.config.connect import Tls
from headrace.errors import ConfigError

_LOOK_SECONDS = 3.0
_ALERT_SECONDS = 0.5  # in TLS 1.3 a client's certificate is refused when its handshake has succeeded
_EXPIRED, _NOT_YET, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64  # OpenSSL's X509_V_ERR_ codes
# The alerts of RFC 8446, section 6.2, that are about a certificate, in OpenSSL's words.
_ALERT = re.compile(
    r"alert (certificate required|handshake failure|no certificate|bad certificate|unsupported certificate|"
    r"certificate revoked|certificate expired|certificate unknown|unknown ca|access denied|decrypt error)"
)


class Look(NamedTuple):
    """What a second look at a server saw. Both empty: TLS was agreed on, and nobody refused a certificate."""

    refused: str = ""  # whose certificate is refused, why, and the remedy
    absent: str = ""  # why no TLS came about, otherwise: nobody listens, or what listens does not speak it


def client_context(tls: Tls, where: str) -> ssl.SSLContext | None:
    """The context for a client, None where TLS is off. ConfigError, beginning with `where`, for unreadable files."""
    return context(tls, where) if tls.enabled else None


def context(tls: Tls, where: str) -> ssl.SSLContext:
    """The same, whether or not TLS is on: where a URL says it, as the registry's does."""
    try:
        out = ssl.create_default_context(cafile=str(tls.ca_file) if tls.ca_file else None)
        if tls.cert_file is not None:
            # Without a password OpenSSL would ask the terminal for that of an encrypted key, and wait.
            out.load_cert_chain(str(tls.cert_file), str(tls.key_file) if tls.key_file else None, password="")
    except (OSError, ssl.SSLError) as e:
        files = ", ".join(str(f) for f in (tls.ca_file, tls.cert_file, tls.key_file) if f is not None)
        raise ConfigError(
            f"{where}: {files}: not usable certificates in PEM, with a key that is theirs and not encrypted: {e}"
        ) from None
    out.check_hostname = tls.verify_hostname
    return out


def authorities(tls: Tls) -> Path | None:
    """The authorities to trust, for clients without Python's ssl: a file, or a folder; None where none is known.

    The given CA, else the system's, as Python's ssl has them: SSL_CERT_FILE counts.
    """
    system = ssl.get_default_verify_paths()
    found = tls.ca_file or system.cafile or system.capath
    return Path(found) if found is not None else None


def refusal(error: BaseException, tls: Tls, setting: str, address: str) -> str:
    """Whose certificate is refused, why, and the remedy, in words; empty where `error` tells of no such thing.

    `setting` names the TLS settings (mqtt.tls), `address` those of the server's name (mqtt.host). An error that lasts:
    who meets it need not try again.
    """
    for e in _chain(error):
        if isinstance(e, ssl.SSLCertVerificationError):
            return _theirs(e, setting, address)
    return next((words for e in _chain(error) if (words := alert(str(e), tls, setting))), "")


def alert(words: str, tls: Tls, setting: str) -> str:
    """What the server's alert in OpenSSL's `words` says of the client's certificate; empty where there is none."""
    found = _ALERT.search(words.lower().replace("_", " "))
    if found is None:
        return ""
    files = f"{setting}.cert_file and {setting}.key_file"
    if tls.cert_file is None:
        return f"it wants a client certificate ({found[1]}). Set {files}"
    return f"it refuses the client certificate ({found[1]}). Have {files} issued by an authority that it trusts"


def look(host: str, port: int, tls: Tls, setting: str, address: str) -> Look:
    """Try TLS with the server once, where a client did not tell why it failed. Takes seconds at most.

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


def split(address: str, port: int = 443) -> tuple[str, int]:
    """The host and the port of host:port, where IPv6 addresses stand in brackets."""
    host, colon, number = address.rpartition(":")
    if not colon or address.endswith("]"):
        return address.strip("[]"), port
    return host.strip("[]"), int(number)


def _theirs(e: ssl.SSLCertVerificationError, setting: str, address: str) -> str:
    if e.verify_code == _EXPIRED:
        remedy = f"Have it renewed at the server, or correct this machine's clock; see {setting}"
    elif e.verify_code == _NOT_YET:
        remedy = f"Correct the clock, of this machine or of whoever issued it; see {setting}"
    elif e.verify_code in {_OTHER_HOST, _OTHER_ADDRESS}:
        remedy = f"Correct {address} to a name that it is for, or have one issued for this name"
    else:
        remedy = f"Set {setting}.ca_file to the certificate of the authority that issued it"
    return f"its certificate is refused: {e.verify_message.rstrip('.')}. {remedy}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it wraps, as libraries do in their several ways."""
    waiting, seen = [error], set()
    while waiting:
        e = waiting.pop(0)
        if id(e) in seen:
            continue
        seen.add(id(e))
        yield e
        inner = (e.__cause__, e.__context__, getattr(e, "reason", None), *e.args)
        waiting += [i for i in inner if isinstance(i, BaseException)]
