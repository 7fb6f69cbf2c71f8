"""TLS settings as Python's ssl wants them."""

import ssl

from headrace.config.connect import Tls
from headrace.errors import ConfigError


def client_context(tls: Tls, where: str) -> ssl.SSLContext | None:
    """The context for a client, None where TLS is off. ConfigError, beginning with `where`, for unreadable files."""
    if not tls.enabled:
        return None
    try:
        context = ssl.create_default_context(cafile=str(tls.ca_file) if tls.ca_file else None)
        if tls.cert_file is not None:
            context.load_cert_chain(str(tls.cert_file), str(tls.key_file) if tls.key_file else None)
    except (OSError, ssl.SSLError) as e:
        files = ", ".join(str(f) for f in (tls.ca_file, tls.cert_file, tls.key_file) if f is not None)
        raise ConfigError(f"{where}: {files}: not usable certificates in PEM: {e}") from None
    context.check_hostname = tls.verify_hostname
    return context
