"""What `headrace dlq redrive` asks of the bridge's redrive process, and what that answers.

The request is one JSON object on the process's standard input. The answers are JSON objects on its standard output, a
line for each letter.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from headrace.deadletters.journal import RecordAt
from headrace.deadletters.mending import Mended
from headrace.errors import ConfigError


class Fate(StrEnum):
    """What became of a letter. The process answers with those marked *; cleaning's verdict replaces `WAITING`."""

    WOULD_GO = "would go"  # * a trial: nothing was sent
    WAITING = "sent, not cleaned yet"  # *
    REFUSED = "refused"  # * nothing was sent: the letter stays as it is
    UNSURE = "unsure"  # * an earlier redrive was interrupted, and what it sent can't be known: nothing was sent
    REDRIVEN = "redriven"  # its readings passed cleaning
    REFUSED_AGAIN = "refused again"  # sent, and at least a part of it is a newer letter now


class Request(NamedTuple):
    """The letters to redrive, by key. `again`: those too that were redriven before. `dry_run`: send nothing.

    `mended`: what is sent in the place of a letter's own bytes, by its key.
    """

    keys: frozenset[bytes]
    again: bool = False
    dry_run: bool = False
    mended: Mapping[bytes, Mended] = MappingProxyType({})

    def encode(self) -> bytes:
        """The request as JSON."""
        mended = {k.hex(): (b64encode(m.value).decode(), m.is_reading) for k, m in self.mended.items()}
        return orjson.dumps({**self._asdict(), "keys": [k.hex() for k in self.keys], "mended": mended})


def decode_request(text: bytes) -> Request:
    """The request in a JSON object. All but `keys` may be absent. ConfigError for anything else."""
    try:
        found = orjson.loads(text)
        keys = frozenset(bytes.fromhex(k) for k in found["keys"])
        mended = {
            bytes.fromhex(k): Mended(b64decode(value, validate=True), bool(is_reading))
            for k, (value, is_reading) in (found.get("mended") or {}).items()
        }
        return Request(keys, bool(found.get("again")), bool(found.get("dry_run")), mended)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ConfigError(f"standard input: not a JSON object with `keys`: {e}") from None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was done with one letter. `reason`, `field` and `detail` say why nothing was sent."""

    key: bytes
    number: int  # of this redrive of the letter
    fate: Fate
    reason: str = ""
    field: str = ""
    detail: str = ""
    readings: int = 0
    letters: int = 0  # elements of its array that are newer letters now
    to: tuple[RecordAt, ...] = ()

    def encode(self) -> bytes:
        """The answer as one line of JSON."""
        return orjson.dumps({**asdict(self), "key": self.key.hex(), "to": [tuple(it) for it in self.to]}) + b"\n"


def decode_answer(line: bytes) -> Answer:
    """The answer in a line of JSON."""
    found: dict[str, Any] = orjson.loads(line)
    to = tuple(RecordAt(*it) for it in found["to"])
    return Answer(**{**found, "key": bytes.fromhex(found["key"]), "fate": Fate(found["fate"]), "to": to})
