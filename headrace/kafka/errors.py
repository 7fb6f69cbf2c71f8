"""librdkafka's errors as ours: which a person must mend, which pass by themselves, which end the process."""

import re
from collections.abc import Sequence
from typing import Protocol

from headrace.config.connect import Kafka, Tls
from headrace.errors import ConfigError, FatalError, TransientError
from headrace.identity import tls

# The issuer of tokens is away, or refuses us: the log says which. If it refuses, the next new client raises that.
_NO_TOKEN = "Failed to acquire SASL OAUTHBEARER token"  # noqa: S105 - librdkafka's words
# A broker's answer when the session's token expired before a new one came: it closes the connection. With passwords, a
# listener without SASL answers this.
_NO_SESSION = "SASL OAUTHBEARER mechanism handshake failed: Broker: Request not valid in current SASL state"
# The connection ended, or nothing came, between the two halves of a login: the broker starts, stops or is killed.
_BROKEN_OFF = "mechanism handshake failed: Local: "
_BROKER = re.compile(r"ssl://([^/\s]+:\d+)/")
_VERIFY = "certificate verify failed"

# By the names that librdkafka gives its errors.
_GROUP_REFUSED = "GROUP_AUTHORIZATION_FAILED"
_CONFIG_ERRORS = {
    "_AUTHENTICATION",
    "_SSL",
    "SASL_AUTHENTICATION_FAILED",
    "TOPIC_AUTHORIZATION_FAILED",
    _GROUP_REFUSED,
    "OFFSET_METADATA_TOO_LARGE",
    "CLUSTER_AUTHORIZATION_FAILED",
    "_INVALID_ARG",
    "POLICY_VIOLATION",
    "INVALID_REPLICATION_FACTOR",
}
_TRANSIENT_ERRORS = {
    "_ALL_BROKERS_DOWN",
    "_TRANSPORT",
    "_TIMED_OUT",
    "_TIMED_OUT_QUEUE",
    "_RESOLVE",
    "_SSL",
    "_WAIT_COORD",
    "_QUEUE_FULL",
    "_NO_OFFSET",
    "_NODE_UPDATE",
    "REQUEST_TIMED_OUT",
    "UNKNOWN_TOPIC_OR_PART",
    "_UNKNOWN_TOPIC",
    "_UNKNOWN_PARTITION",
    # while a group rebalances: poll on, the callbacks say what is still ours
    "REBALANCE_IN_PROGRESS",
    "ILLEGAL_GENERATION",
    "UNKNOWN_MEMBER_ID",
    "_ASSIGNMENT_LOST",
    "COORDINATOR_NOT_AVAILABLE",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "NOT_COORDINATOR",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
}


class GroupRefusedError(ConfigError):
    """Kafka does not permit this user to use the group."""


class Heard(Protocol):
    """confluent-kafka's KafkaError, as far as it matters here."""

    def name(self) -> str:
        """The name that librdkafka gives it."""

    def str(self) -> str:
        """The text for people."""

    def retriable(self) -> bool:
        """Whether the same call may succeed later."""

    def fatal(self) -> bool:
        """Whether the client can't be used any more."""


def translate(error: Heard | Exception, doing: str) -> ConfigError | TransientError | FatalError:
    """Kafka's error as one of ours, with `doing`: what was being done. A KafkaException carries a KafkaError."""
    e: Heard = error.args[0] if isinstance(error, Exception) else error
    text = f"Kafka, {doing}: {e.str()} ({e.name()})"
    if any(words in e.str() for words in (_NO_TOKEN, _NO_SESSION, _BROKEN_OFF)):
        return TransientError(text)
    if tls.alert(e.str(), Tls(), "kafka.tls"):
        return ConfigError(text)
    if e.name() == _GROUP_REFUSED:
        return GroupRefusedError(f"{text}. Let this user read that group")
    # A broken handshake may be an outage or a listener without TLS; only a refused certificate is certain.
    if e.name() in _CONFIG_ERRORS and (e.name() != "_SSL" or "verif" in e.str()):
        return ConfigError(text)
    if e.name() in _TRANSIENT_ERRORS or (e.retriable() and not e.fatal()):
        return TransientError(text)
    return FatalError(text)


def unanswered(cfg: Kafka, heard: Sequence[Heard]) -> ConfigError | TransientError | FatalError:
    """Why no broker answered, from the clearest of the errors reported meanwhile, and what to do."""
    telling = [e for e in heard if e.name() != "_ALL_BROKERS_DOWN"]
    if not telling:
        secured, known = ("with" if on else "without" for on in (cfg.tls.enabled, cfg.sasl is not None))
        return TransientError(
            f"Kafka at {cfg.bootstrap} does not answer: is it Kafka that listens there, {secured} TLS and {known} "
            "SASL? See kafka.bootstrap, kafka.tls and kafka.sasl"
        )
    for e in telling:
        if why := _refused(cfg, e):
            return ConfigError(why)
    worst = next((e for e in telling if e.name() in _CONFIG_ERRORS), telling[-1])
    remedy = {
        "_SSL": "Correct kafka.tls",
        "_AUTHENTICATION": "Correct kafka.sasl",
        "_RESOLVE": "Correct kafka.bootstrap",
    }.get(worst.name(), "Start it, or correct kafka.bootstrap and kafka.tls")
    found = translate(worst, f"connecting to {cfg.bootstrap}")
    return type(found)(f"{found}. {remedy}")


def _refused(cfg: Kafka, e: Heard) -> str:
    """Which certificate is refused, and the remedy; empty when the error is about something else.

    librdkafka knows that a certificate is refused but not why, so this takes a second look, about a second long.
    """
    words = e.str()
    found = _BROKER.search(words)
    if found is None or not cfg.tls.enabled:
        return ""
    where = f"Kafka at {found[1]}"
    if why := tls.alert(words, cfg.tls, "kafka.tls"):
        return f"{where}: {why}"
    why = tls.look(*tls.split(found[1]), cfg.tls, "kafka.tls", "kafka.bootstrap").refused if _VERIFY in words else ""
    return f"{where}: {why}" if why else ""
