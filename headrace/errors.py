"""Every error that Headrace raises on purpose, and what each one means for the code that catches it.

HeadraceError
├── ConfigError     the configuration is wrong       exit 2, before any connection is made
│   └── RefusedContractError  one stream's contract may not follow the registered one: go on with the other streams
├── TransientError  a dependency is away             hold, back off, acknowledge nothing
├── PoisonError     these bytes can't be a reading   dead-letter them, then acknowledge
└── FatalError      to go on would lose or double    exit 1, let the orchestrator restart
"""

from enum import StrEnum


class HeadraceError(Exception):
    """Base of all the errors below."""


class ConfigError(HeadraceError):
    """The configuration is wrong: says the file, the key and the remedy. Exit code 2."""


class RefusedContractError(ConfigError):
    """A contract may not become the next version in the registry: its stream is refused, the others go on.

    `problems`: why, each in words with its remedy.
    """

    def __init__(self, contract: str, subject: str, problems: list[str]) -> None:
        lines = "\n".join(f"  {p}" for p in problems)
        super().__init__(f"contract {contract} can't become the next version of {subject}:\n{lines}")
        self.problems = tuple(problems)


class TransientError(HeadraceError):
    """A dependency is unreachable or overloaded: the same call may succeed later."""


class FatalError(HeadraceError):
    """To go on would lose, double or reorder readings. Exit code 1, commit nothing."""


class Reason(StrEnum):
    """Why a dead letter is one. Few and fixed, since they label a metric."""

    MALFORMED = "malformed"  # not JSON, not Avro, or not the shape that was promised
    WRONG_TYPE = "wrong_type"  # a field's value has a type that the contract does not allow
    MISSING_FIELD = "missing_field"  # a required field is absent
    UNKNOWN_FIELD = "unknown_field"  # a field that the contract does not have
    UNKNOWN_ALIAS = "unknown_alias"  # a metric of Sparkplug without a name, whose birth the bridge does not know
    DEVICE_MISMATCH = "device_mismatch"  # the payload's device_id is not the topic's
    BAD_NAME = "bad_name"  # a device id or a topic level outside the allowlist
    CONTRACT_REFUSED = "contract_refused"  # the stream's contract may not follow the registered one
    NO_ROUTE = "no_route"  # no route's filter matches the topic
    TOO_LARGE = "too_large"  # larger than its Kafka topic allows
    OUT_OF_RANGE = "out_of_range"  # outside the range, too many items, or at odds with the reading before
    SENTINEL = "sentinel"  # a "no value" mark on a field that must have a value
    NOT_FINITE = "not_finite"  # NaN or infinity on a field that must have a value
    NOT_ALLOWED = "not_allowed"  # not one of the values that are allowed, or not of the pattern
    INCONSISTENT = "inconsistent"  # values that contradict each other, by a rule across fields
    FUTURE_TIME = "future_time"  # event_time too far ahead of its arrival
    PAST_TIME = "past_time"  # event_time too far behind its arrival
    NO_SYNC = "no_sync"  # a time since the device's start, of a start that no sync message has told
    TRANSFORM = "transform"  # the stream's transform raised an error on it, or made it a row that can't be
    UNKNOWN_SCHEMA = "unknown_schema"  # the registry does not know the schema id


class PoisonError(HeadraceError):
    """Bytes that can't become a reading: `reason` for machines, the message for people."""

    def __init__(self, reason: Reason, message: str, *, field: str = "", value: str = "", rule: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field
        self.rule = rule  # of cleaning, as `_quality` names it
        self.device = ""  # whose bytes they are, where whoever refused them knows
        self.value = value[:200]
