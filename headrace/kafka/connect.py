"""How a Kafka client logs in: TLS and SASL, as librdkafka's settings."""

from typing import Any

from headrace.config.connect import Kafka
from headrace.identity import tls, tokens


def connection(cfg: Kafka) -> dict[str, Any]:
    """The settings of every client. With OAUTHBEARER it fetches a token, or raises why there is none."""
    # Errors come back from calls or show in /readyz: librdkafka would log them many times a second.
    out: dict[str, Any] = {"bootstrap.servers": cfg.bootstrap, "log_level": 2}
    sasl = cfg.sasl
    out["security.protocol"] = ("SASL_" if sasl else "") + ("SSL" if cfg.tls.enabled else "PLAINTEXT")
    if cfg.tls.enabled:
        tls.context(cfg.tls, "kafka.tls")  # says more about unusable files than librdkafka does
        out["ssl.endpoint.identification.algorithm"] = "https" if cfg.tls.verify_hostname else "none"
        files = {"ca": tls.authorities(cfg.tls), "certificate": cfg.tls.cert_file, "key": cfg.tls.key_file}
        out |= {f"ssl.{name}.location": str(path) for name, path in files.items() if path is not None}
    if sasl is None:
        return out
    out["sasl.mechanism"] = sasl.mechanism
    if sasl.token is not None:
        tokens.current(cfg)  # the client would wait ten seconds for it, and not say why there is none
        return out | {"oauth_cb": tokens.callback(cfg)}
    assert sasl.password is not None  # the model checks it
    return out | {"sasl.username": sasl.username, "sasl.password": sasl.password.get_secret_value()}
