"""What a dead letter becomes when it is looked at again, with the present contracts and routes. No Kafka here."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from bridge import letters, routing
from bridge.decode import Decoder, Reading, Refused, Source
from bridge.elements import element
from bridge.resolve import Resolver
from bridge.routing import Plan, Target
from headrace import replays, wire
from headrace.contracts.model import Contract
from headrace.deadletters import Letter, ReadLetter
from headrace.errors import PoisonError, Reason
from headrace.names import is_device_id, raw_topic
from headrace.wire import Headers

_TIME_DIGITS = 18  # of microseconds, so that they fit 64 bits
_KEPT = (wire.MQTT_TOPIC, wire.MQTT_QOS, wire.MQTT_DUP, wire.MQTT_RETAIN)


class Record(NamedTuple):
    """A reading for a `.raw` topic."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers

    @property
    def event_id(self) -> bytes:
        """Tells it from every other reading, and from no copy."""
        return self.headers[0][1]


class Outcome(NamedTuple):
    """What a letter becomes: readings, and letters for those elements of its array that are none.

    With `refused` it is neither, and stays what it is.
    """

    records: tuple[Record, ...] = ()
    letters: tuple[Letter, ...] = ()
    refused: PoisonError | None = None


class Again:
    """Judges letters of every stage. The mappings are by stream, but `decoders`, which is by `Route.where`."""

    def __init__(
        self,
        plan: Plan,
        contracts: Mapping[str, Contract],
        ids: Mapping[str, int],  # the present schema's
        limits: Mapping[str, int],  # bytes of a record that the .raw topic takes
        text: Callable[[int], str],  # of a schema id
    ) -> None:
        self._plan, self._limits = plan, limits
        self._decoders = {
            r.where: Decoder(contracts[r.stream], ids[r.stream], tuple(r.filter.captures)) for r in plan.routes
        }
        self._resolvers = {s: Resolver(contract, ids[s], text) for s, contract in contracts.items()}

    def judge(self, letter: ReadLetter, value: bytes, number: int) -> Outcome:
        """What replay `number` makes of a letter whose bytes are `value`: the same whenever it is asked.

        TransientError while the registry is away.
        """
        try:
            if letter.text("stage") == "bridge":
                return self._payload(letter, value, number)
            return Outcome((self._datum(letter, value, number),))
        except PoisonError as e:
            return Outcome(refused=e)

    def _datum(self, letter: ReadLetter, value: bytes, number: int) -> Record:
        """A reading that clean or the archive refused."""
        stream = letter.text("stream")
        if stream not in self._resolvers:
            raise PoisonError(Reason.NO_ROUTE, f"there is no stream {stream!r} in the configuration")
        device, value = self._resolvers[stream].resolve(value)
        if not is_device_id(device):
            raise PoisonError(Reason.BAD_NAME, f"device_id: {device[:80]!r} can't name a device", field="device_id")
        return self._record(letter, stream, device, value, number, 0)

    def _payload(self, letter: ReadLetter, payload: bytes, number: int) -> Outcome:
        """A payload that the bridge refused, or an element of one: what the bridge would make of it now.

        One that no stream took goes to every stream that takes it now, any other one to its own only: the payload's
        readings for further streams were never refused.
        """
        topic, stream = letter.text(wire.MQTT_TOPIC), letter.text("stream")
        targets = [t for t in routing.match(self._plan, topic).targets if stream in {"", t.route.stream}]
        if not targets:
            where = f" into {stream}" if stream else ""
            raise PoisonError(Reason.NO_ROUTE, f"no route takes the topic {topic[:200]!r}{where}")
        records: list[Record] = []
        refused: list[tuple[str, int, Refused]] = []
        for target in targets:
            name = target.route.stream
            for index, one in enumerate(self._decode(target, letter, payload)):
                try:
                    if isinstance(one, Refused):
                        raise one.error
                    records.append(self._record(letter, name, one.device, one.value, number, index))
                except PoisonError as e:
                    original = one.original if isinstance(one, Refused) else element(payload, index)
                    refused.append((name, index, Refused(e, original)))
        if refused and not records:
            raise refused[0][2].error
        return Outcome(tuple(records), tuple(_letter(letter, number, *it) for it in refused))

    def _decode(self, target: Target, letter: ReadLetter, payload: bytes) -> list[Reading | Refused]:
        if target.refused is not None:
            return [Refused(target.refused, payload)]
        source = Source(target.captures, target.route.unknown_fields)
        return self._decoders[target.route.where].decode(payload, source, _received(letter))

    def _record(self, letter: ReadLetter, stream: str, device: str, value: bytes, number: int, index: int) -> Record:
        headers = _headers(letter, replays.event_id(letter.key, number, stream, index), number)
        key = device.encode()
        size = wire.record_bytes(key, value, headers)
        if size > self._limits[stream]:
            why = f"{size:,} bytes: {raw_topic(stream)} takes {self._limits[stream]:,}"
            raise PoisonError(Reason.TOO_LARGE, why)
        return Record(raw_topic(stream), key, value, headers)


def _letter(letter: ReadLetter, number: int, stream: str, index: int, refused: Refused) -> Letter:
    identity = replays.event_id(letter.key, number, stream, index)
    topic = letter.text(wire.MQTT_TOPIC)
    headers = _headers(letter, identity, number)
    return letters.make(refused.error, refused.original, stream, topic, index, identity, headers)


def _headers(letter: ReadLetter, event_id: bytes, number: int) -> Headers:
    # In the order in which clean finds them fastest.
    received = (wire.RECEIVED_AT, b"%d" % _received(letter))
    kept = [(name, letter.headers[name]) for name in _KEPT if name in letter.headers]
    return [(wire.EVENT_ID, event_id), received, *kept, replays.mark(letter.key, number)]


def _received(letter: ReadLetter) -> int:
    """When the bridge had the original, microseconds: the event time where the payload has none."""
    text = letter.text(wire.RECEIVED_AT)
    return int(text) if text.isdecimal() and len(text) <= _TIME_DIGITS else letter.time_ms * 1000
