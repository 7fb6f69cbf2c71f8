"""What a dead letter becomes when it is judged again, by the present contracts and routes. No Kafka here."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import msgspec

from bridge import letters, registering
from bridge.decoders.base import Decoder, Found, Reading, Refused, Source
from bridge.decoders.json.elements import parse
from bridge.decoders.objects import ObjectReader
from bridge.redrive.derived import Derived
from bridge.redrive.resolve import Resolver
from bridge.routing import Routing, Target
from headrace.contracts.model import Contract
from headrace.deadletters import Letter, MqttSource, ReadLetter, Stage, journal
from headrace.errors import PoisonError, Reason, RefusedContractError
from headrace.protocol import mediatypes, wire
from headrace.protocol.names import ALPHABET, UPLOADS, is_device_id, raw_topic
from headrace.protocol.wire import Headers, Provenance
from headrace.uploads import order

_TIME_DIGITS = 18  # of microseconds, so that they fit 64 bits
_KEPT = (wire.MQTT_PROPERTIES, wire.MQTT_CONTENT_TYPE)
_FLAGS = ((wire.MQTT_DUP, wire.DUP), (wire.MQTT_RETAIN, wire.RETAIN))


class Record(NamedTuple):
    """A reading for a `.raw` topic."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers

    @property
    def event_id(self) -> bytes:
        """The reading's event id: the same for a copy, different for any other reading."""
        return wire.provenance(self.headers).event_id or b""


class Outcome(NamedTuple):
    """What a letter becomes: readings, and newer letters for the elements of its array that were refused.

    With `refused` it becomes nothing, and stays as it is.
    """

    records: tuple[Record, ...] = ()
    letters: tuple[Letter, ...] = ()
    refused: PoisonError | None = None


class Again:
    """Judges letters of every stage again. The mappings are by stream."""

    def __init__(
        self,
        routing: Routing,
        contracts: Mapping[str, Contract],
        ids: Mapping[str, int],  # the present schema's; those that are missing are in `refusals`
        limits: Mapping[str, int],  # bytes of a record that the .raw topic takes
        text: Callable[[int], str],  # of a schema id
        refusals: Mapping[str, RefusedContractError] | None = None,
        heirs: Mapping[str, Collection[str]] | None = None,  # by stream: itself and those that follow it
        derived: Derived | None = None,
    ) -> None:
        self._routing, self._limits, self._refusals = routing, limits, refusals or {}
        self._contracts, self._ids = contracts, ids
        self._heirs, self._derived = heirs or {}, derived
        self.decoders = registering.decoders(routing, contracts, ids, self._refusals)
        self._resolvers = {s: Resolver(contracts[s], number, text) for s, number in ids.items()}

    def judge(self, letter: ReadLetter, value: bytes, number: int, is_reading: bool = False) -> Outcome:
        """What redrive `number` makes of a letter whose bytes are `value`: the same each time.

        `is_reading`: the bytes are a reading as a JSON object, which somebody has mended. TransientError when the
        registry is away.
        """
        try:
            if letter.text("stage") == Stage.BRIDGE:
                return self._payload(letter, value, number)
            if letter.text("stage") == Stage.DERIVE:
                return Outcome(tuple(self._rows(letter, value, number, is_reading)))
            return Outcome((self._datum(letter, value, number, is_reading),))
        except PoisonError as e:
            return Outcome(refused=e)

    def _rows(self, letter: ReadLetter, value: bytes, number: int, is_reading: bool) -> Iterator[Record]:
        """The rows of a derived stream that are made of a reading of its source."""
        stream = self._usable(letter.text("stream"))
        source = self._derived.source(stream) if self._derived is not None else ""
        if self._derived is None or not source:
            raise PoisonError(Reason.NO_ROUTE, f"the stream {stream!r} is made of no other now. Add its `from`")
        if source == UPLOADS:
            yield self._of_file(letter, stream, value, number, is_reading)
            return
        if is_reading:
            value = self._read(self._usable(source), letter, value).value
        for index, (device, row) in enumerate(self._derived.rows(stream, value)):
            yield self._record(letter, stream, device, row, number, index)

    def _of_file(self, letter: ReadLetter, stream: str, value: bytes, number: int, is_reading: bool) -> Record:
        """A row of a file, which somebody has mended. PoisonError: as it is it can be no reading."""
        if "row" not in letter.headers:
            words = "it orders rows of a file. `headrace upload` with the file loads what is missing"
            raise PoisonError(Reason.MALFORMED, words)
        if not is_reading:
            words = (
                "a row of a file is no reading as it is. Correct the profile and upload the file again with "
                "`headrace uploads replace`; or write the reading itself, with the contract's fields, into "
                "KEY.reading for `dlq redrive --from`"
            )
            raise PoisonError(Reason.MALFORMED, words)
        reading = self._read(stream, letter, value)
        return self._record(letter, stream, reading.device, reading.value, number, 0)

    def _usable(self, stream: str) -> str:
        """The stream, if its contract is registered."""
        if stream in self._refusals:
            raise registering.poison(stream, self._refusals[stream])
        if stream not in self._resolvers:
            raise PoisonError(Reason.NO_ROUTE, f"the configuration has no stream {stream!r}. Add it")
        return stream

    def _read(self, stream: str, letter: ReadLetter, value: bytes) -> Reading:
        """A reading that somebody has mended: a JSON object with the fields of the stream's contract."""
        return ObjectReader(self._contracts[stream], self._ids[stream]).read(parse(value), Source(), _received(letter))

    def _datum(self, letter: ReadLetter, value: bytes, number: int, is_reading: bool) -> Record:
        """A reading that clean or the archive refused."""
        stream = self._usable(letter.text("stream"))
        if is_reading:
            reading = self._read(stream, letter, value)
            device, value = reading.device, reading.value
        else:
            device, value = self._resolvers[stream].resolve(value)
        if not is_device_id(device):
            words = f"device_id: {device[:80]!r} can't name a device. Mend it: {ALPHABET}"
            raise PoisonError(Reason.BAD_NAME, words, field="device_id")
        return self._record(letter, stream, device, value, number, 0)

    def _payload(self, letter: ReadLetter, payload: bytes, number: int) -> Outcome:
        """A payload that the bridge refused, or one element of it: what the bridge would make of it now.

        A payload without a stream, which no route took, goes to every stream that takes it now. Any other goes to its
        own stream only: what the payload holds for other streams was not refused. Where its own does not take the topic
        any more, it goes to those that follow it and do.
        """
        topic, stream = letter.text(wire.MQTT_TOPIC), letter.text("stream")
        taking = self._routing.match(topic).targets
        heirs = self._heirs.get(stream, ())
        targets = [t for t in taking if stream in {"", t.route.stream}] or [
            t for t in taking if t.route.stream in heirs
        ]
        if not targets:
            where = f" into {stream}" if stream else ""
            raise PoisonError(Reason.NO_ROUTE, f"no route takes the topic {topic[:200]!r}{where}. Add one")
        records: list[Record] = []
        refused: list[tuple[str, int, Refused]] = []
        for target in targets:
            good, bad = self._parts(target, letter, payload, number)
            records += good
            refused += ((target.route.stream, *it) for it in bad)
        if refused and not records:
            raise refused[0][2].error
        return Outcome(tuple(records), tuple(_letter(letter, number, *it) for it in refused))

    def _parts(
        self, target: Target, letter: ReadLetter, payload: bytes, number: int
    ) -> tuple[list[Record], list[tuple[int, Refused]]]:
        """The readings of a payload in one stream; and what is refused, each with its place."""
        name, media = target.route.stream, mediatypes.essence(letter.text(wire.MQTT_CONTENT_TYPE))
        decoder = self.decoders[target.route.where].of(media)
        records: list[Record] = []
        refused: list[tuple[int, Refused]] = []
        for index, one in enumerate(_decode(target, decoder, letter, payload)):
            if isinstance(one, Refused):
                refused.append((index, one))
            elif isinstance(one, Reading):
                try:
                    records.append(self._record(letter, name, one.device, one.value, number, index))
                except PoisonError as e:
                    original = decoder.element(payload, index)
                    if original == payload:  # it can't be split, and its other readings would come again
                        return [], [(0, Refused(e, payload))]
                    refused.append((index, Refused(e, original)))
        return records, refused

    def _record(self, letter: ReadLetter, stream: str, device: str, value: bytes, number: int, index: int) -> Record:
        event_id, own = journal.event_id(letter.key, number, stream, index), letter.headers.get(wire.EVENT_ID, b"")
        if len(own) == wire.EVENT_ID_BYTES and self._derived is not None and self._derived.source(stream) == UPLOADS:
            event_id = order.redriven(own, number)  # the lake says which row of which upload it is
        headers = _headers(letter, event_id, number)
        key = device.encode()
        size = wire.record_bytes(key, value, headers)
        if size > self._limits[stream]:
            most = f"{raw_topic(stream)} takes {self._limits[stream]:,}"
            why = f"the reading has {size:,} bytes, {most} (max_message_bytes)"
            raise PoisonError(Reason.TOO_LARGE, why)
        return Record(raw_topic(stream), key, value, headers)


def _decode(target: Target, decoder: Decoder, letter: ReadLetter, payload: bytes) -> list[Found]:
    if target.refused is not None:
        return [Refused(target.refused, payload)]
    source = Source(target.captures, target.route.options.unknown_fields, _properties(letter))
    return decoder.decode(payload, source, _received(letter))


def _properties(letter: ReadLetter) -> dict[str, str]:
    try:
        return msgspec.json.decode(letter.text(wire.MQTT_PROPERTIES) or "{}", type=dict[str, str])
    except msgspec.MsgspecError:
        return {}


def _letter(letter: ReadLetter, number: int, stream: str, index: int, refused: Refused) -> Letter:
    identity = journal.event_id(letter.key, number, stream, index)
    topic = letter.text(wire.MQTT_TOPIC)
    headers = wire.texts(_headers(letter, identity, number))
    return letters.make(
        refused, stream, MqttSource(topic, index, identity), headers, letter.text("device") or refused.error.device
    )


def _headers(letter: ReadLetter, event_id: bytes, number: int) -> Headers:
    """The headers of a reading that redrive `number` makes of a letter."""
    topic = letter.headers.get(wire.MQTT_TOPIC, b"")
    came = Provenance(event_id, _received(letter), topic, _mqtt(letter))
    kept = [(name, letter.headers[name]) for name in _KEPT if name in letter.headers]
    return [came.header(), *kept, journal.mark(letter.key, number)]


def _mqtt(letter: ReadLetter) -> int:
    """How the original came, as in the flags of `provenance`."""
    qos = letter.text(wire.MQTT_QOS)
    flags = (flag for name, flag in _FLAGS if letter.text(name) == "1")
    return int(qos) | sum(flags) if qos in {"0", "1", "2"} else wire.NOT_MQTT


def _received(letter: ReadLetter) -> int:
    """When the bridge received the original, microseconds since 1970 UTC: the event time if the payload has none."""
    text = letter.text(wire.RECEIVED_AT)
    known = text.isdecimal() and len(text) <= _TIME_DIGITS
    return int(text) if known else min(letter.time_ms * 1000, 10**_TIME_DIGITS)
