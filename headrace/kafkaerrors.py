"""librdkafka's errors as ours: which of them a person must mend, which pass, and which end the process."""

from collections.abc import Sequence
from typing import Protocol

from headrace.config.connect import Kafka
from headrace.errors import ConfigError, FatalError, TransientError

# By librdkafka's names of its errors.
_CONFIG_ERRORS = {
    "_AUTHENTICATION",
    "_SSL",
    "SASL_AUTHENTICATION_FAILED",
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
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
    # of a group on the move: poll on, and the callbacks tell what is still ours
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


class Told(Protocol):
    """confluent-kafka's KafkaError, as far as it matters here."""

    def name(self) -> str:
        """The name that librdkafka gives it."""

    def str(self) -> str:
        """What a person may read."""

    def retriable(self) -> bool:
        """Whether the same call may succeed later."""

    def fatal(self) -> bool:
        """Whether the client is of no use any more."""


def translate(error: Told | Exception, doing: str) -> ConfigError | TransientError | FatalError:
    """Kafka's error as one of ours, with what was being done when it came.

    A KafkaException carries a KafkaError as its argument.
    """
    e: Told = error.args[0] if isinstance(error, Exception) else error
    text = f"Kafka, {doing}: {e.str()} ({e.name()})"
    # A handshake that breaks off is an outage as well as a plain listener; only a certificate's refusal stays one.
    if e.name() in _CONFIG_ERRORS and (e.name() != "_SSL" or "verif" in e.str()):
        return ConfigError(text)
    if e.name() in _TRANSIENT_ERRORS or (e.retriable() and not e.fatal()):
        return TransientError(text)
    return FatalError(text)


def unanswered(cfg: Kafka, heard: Sequence[Told]) -> ConfigError | TransientError | FatalError:
    """Why no broker answered, by the most telling of the errors heard meanwhile, and what to do."""
    telling = [e for e in heard if e.name() != "_ALL_BROKERS_DOWN"]
    if not telling:
        tls = "with" if cfg.tls.enabled else "without"
        return TransientError(
            f"Kafka at {cfg.bootstrap} does not answer: is it Kafka that listens there, {tls} TLS? "
            "See kafka.bootstrap and kafka.tls"
        )
    worst = next((e for e in telling if e.name() in _CONFIG_ERRORS), telling[-1])
    remedy = {
        "_SSL": "Correct kafka.tls",
        "_AUTHENTICATION": "Correct kafka.sasl",
        "_RESOLVE": "Correct kafka.bootstrap",
    }.get(worst.name(), "Start it, or correct kafka.bootstrap and kafka.tls")
    found = translate(worst, f"connecting to {cfg.bootstrap}")
    return type(found)(f"{found}. {remedy}")
