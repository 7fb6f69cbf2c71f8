"""Which certificates of devices Mosquitto is not to take: the list (CRL) beside it, and whether it has read the list.

Mosquitto 2.0 that can't read a list takes everybody, 2.1 ends; with a list of another authority both take nobody. So
each list has a new certificate of its own in it, the canary, and hub makes one more that is in none, the witness. Once
the broker refuses the one and takes the other, it goes by the list, and by the other files that it reads with it.
"""

import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from headrace.errors import ConfigError, TransientError
from headrace.identity import ca, crl
from headrace.identity.ca import Pair
from headrace.identity.crl import Crl
from headrace.operate import mqttprobe
from headrace.operate.brokerfiles import replace, text_of, wrong
from headrace.protocol.names import is_identity

CRL = "devices.crl"  # in the folder that the agent keeps
_WHERE = "certificates.crl"
_SURE_SECONDS, _PAUSE_SECONDS = 5.0, 0.2  # for the broker to have read a list


class Listener(NamedTuple):
    """The broker's listener for certificates, and the file with the authority of those that it takes."""

    authority: Path
    host: str
    port: int


class Certificates(NamedTuple):
    """What hub says: the list, whose those in it are by serial number, canary and witness."""

    text: str
    list: Crl
    owners: dict[int, str]
    canary: Pair
    witness: Pair


def parse(given: object, authority: Path) -> Certificates | None:
    """What hub's answer says of certificates; None where hub makes none. TransientError when it can't be right."""
    if given is None:
        return None
    if not isinstance(given, dict) or not isinstance(given.get("crl"), str):
        raise wrong("what it says of certificates has no list")
    try:
        found = crl.read(given["crl"], _authority(authority), _WHERE)
        canary, witness = Pair(**given["canary"]), Pair(**given["witness"])
        serial, other = (ca.facts(pair.cert, "certificates.canary").serial for pair in (canary, witness))
        owners = {int(digits, 16): owner for digits, owner in given["owners"].items()}
    except ConfigError as e:
        raise wrong(str(e)) from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise wrong("what it says of certificates is not whole") from None
    if serial not in found.serials or other in found.serials or found.serials - {serial} != owners.keys():
        raise wrong("its list has other certificates than it names")
    if not all(isinstance(owner, str) and is_identity(owner) for owner in owners.values()):
        raise wrong("a certificate of its list has an owner that can't name a device")
    return Certificates(given["crl"], found, owners, canary, witness)


def known(path: Path, authority: Path) -> Crl | None:
    """The list in a file; None when there is none, or none that is good now."""
    text = text_of(path)
    try:
        return crl.read(text, _authority(authority), str(path)) if text else None
    except ConfigError:
        return None


def check(new: Crl, known: Crl | None, file: Path) -> None:
    """TransientError for a list that is older than the one that is there, in `file`."""
    if known is not None and new.number < known.number:
        raise TransientError(
            f"hub's list of revoked certificates has number {new.number}, and the broker's {known.number}: was hub's "
            "database restored from an older copy? Whom it does not know as revoked would come in. Revoke those again, "
            f"then remove {file}"
        )


def prepare(folder: Path, authority: Path) -> None:
    """Have a list there with which the broker starts: with one that it can't read it would not start at all.

    Where none is good, it takes no certificate until the agent has put hub's list in its place.
    """
    if known(folder / CRL, authority) is None:
        replace(folder / CRL, crl.closed())


def sure(listener: Listener, shown: Certificates, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until the broker goes by the list. TransientError when it does not within seconds."""
    end = time.monotonic() + _SURE_SECONDS
    while (why := _shown(listener, shown)) and time.monotonic() < end:
        sleep(_PAUSE_SECONDS)
    if why:
        raise TransientError(f"the broker's listener for certificates, {listener.host}:{listener.port}: {why}")


def _shown(listener: Listener, shown: Certificates) -> str:
    """What is wrong; empty when the canary is refused and the witness is not."""
    if not _refused(listener, shown.canary):
        return (
            "it lets in a certificate that the newest list has as revoked: it has not read the list; its log says why"
        )
    return f"it refuses a good certificate: {why}" if (why := _refused(listener, shown.witness)) else ""


def _refused(listener: Listener, pair: Pair) -> str:
    """Why the broker does not let in who shows this certificate; empty when it does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is told it: only its answer counts
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # mode 0600
        file.write(pair.cert + pair.key)
        file.flush()
        context.load_cert_chain(file.name)
    try:
        code = mqttprobe.handshake(listener.host, listener.port, None, None, tls=context)
    except TransientError as e:
        return str(e)
    return f"MQTT reason code {code:#04x}" if code else ""


def _authority(path: Path) -> str:
    text = text_of(path)
    if not text:
        raise ConfigError(f"{path}: the authority of the devices can't be read")
    return text
