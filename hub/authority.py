"""The authority that signs the certificates of devices: read at the start, and refused where it would harm."""

import hashlib

from headrace.config.model import DevicesCa
from headrace.errors import ConfigError
from headrace.identity import ca, crl
from headrace.identity.ca import Authority, Pair
from hub.changes import change, counter
from hub.database import Database

_WHERE = "hub.serve.devices_ca"


def read(settings: DevicesCa) -> Authority | None:
    """The authority; None when none is set. ConfigError for files that are of no use, with the reason."""
    if settings.cert_file is None or settings.key_file is None:
        return None
    try:
        pair = Pair(settings.cert_file.read_text(encoding="utf-8"), settings.key_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        name = getattr(e, "filename", None) or settings.cert_file
        raise ConfigError(f"{_WHERE}: {name}: {getattr(e, 'strerror', None) or 'not text'}") from None
    found = Authority(pair, _WHERE, settings.days)
    if wrong := ca.outside(ca.facts(pair.cert, _WHERE)):
        raise ConfigError(f"{_WHERE}: {settings.cert_file}: {wrong}. Give the files of one that is good now")
    crl.can_sign(pair.cert, f"{_WHERE}: {settings.cert_file}")
    return found


def note(database: Database, authority: Authority | None) -> None:
    """Have the broker's agent ask again where another authority signs than before."""
    digest = 0 if authority is None else _digest(authority)
    with database.read() as connection:
        if counter(connection, "authority") == digest:
            return
    with change(database, "hub") as c:
        c.set("authority", digest)
        c.take("crl")
        c.broker()


def _digest(authority: Authority) -> int:
    return int.from_bytes(hashlib.sha256(authority.pair.cert.encode()).digest()[:7], "big")
