"""What a payload becomes, and what makes it that: a `Decoder`, one for each format. `formats.py` names them all."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from headrace.config.route import Unknown
from headrace.errors import PoisonError

_NO_VALUES: Mapping[str, str] = {}


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A reading, ready for Kafka. `identified`: the payload differs from that of every other reading of the device."""

    device: str
    value: bytes  # Avro, framed with its schema's id
    identified: bool


class Refused(NamedTuple):
    """Bytes that could not become a reading: the whole payload, or one element of it."""

    error: PoisonError
    original: bytes


class Skipped(NamedTuple):
    """A payload that rightly has no reading. It is counted by `why`, and acknowledged."""

    why: str  # a label of headrace_bridge_skipped_total


Found = Reading | Refused | Skipped


class Metric(NamedTuple):
    """What a birth of Sparkplug says of a metric."""

    name: str
    type: int  # the number of the specification; 0: it does not say


Births = Mapping[int | str, Metric]  # by alias; by name where there is none


class Source(NamedTuple):
    """What a route and a topic say about every payload that comes that way."""

    captures: Mapping[str, str] = _NO_VALUES  # levels of the topic, by the names that the route's filter gives them
    unknown_fields: Unknown = "refuse"  # what becomes of what the contract lacks
    properties: Mapping[str, str] = _NO_VALUES  # of the message's user properties, those that the route asks for
    births: Births | None = None  # of the edge node or device that sent it; None: nothing is learnt from births here


class Decoder(Protocol):
    """Decodes the payloads of one format for one route. Called for every message, on one thread."""

    ignored: int  # fields left out so far since the contract does not have them; the caller sets it back to 0

    def decode(self, payload: bytes, source: Source, received: int) -> list[Found]:
        """What a payload becomes: one entry for each of its elements, in their order. Never empty; raises nothing.

        `received`: when the payload came, microseconds since 1970 UTC. It is the reading's time if the payload has
        none. The same arguments always give the same answer, but for times that count from a device's start: those go
        by the latest sync message. Event ids do not: a copy of a message always gets the same ones.
        """

    def element(self, payload: bytes, index: int) -> bytes:
        """The bytes of the element that became entry `index` of `decode`: what a dead letter of it holds.

        `decode` must take them as a payload, since the dead letter may be sent again.
        """

    def marks(self, payload: bytes) -> Mapping[str, Any]:
        """The fields by which a device knows its own reading, for its receipt: of the first element; perhaps none.

        Raises nothing, whatever the payload.
        """
