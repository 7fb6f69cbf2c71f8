"""What a payload becomes: a record for each reading and each dead letter of it, in every lane of its topic."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import msgspec
import orjson
from prometheus_client import Counter

from bridge import letters
from bridge.decoders.base import Births, Reading, Refused
from bridge.delivery import Record
from bridge.lanes import Lane, Topic
from headrace import deadletters
from headrace.config import Config
from headrace.deadletters import Letter, MqttSource, Stage
from headrace.protocol import mediatypes, wire
from headrace.protocol.names import DEVICE
from headrace.protocol.wire import Headers
from headrace.runtime.metrics import BRIDGE_IGNORED_FIELDS, BRIDGE_SKIPPED, DEAD_LETTERS

_PROVENANCE = wire.PROVENANCE


class Large(NamedTuple):
    """A dead letter that goes to the object store first."""

    letter: Letter
    counter: Counter


class Became(msgspec.Struct):
    """What a message became: records for Kafka, the headers of the dead letters among them, or why it was skipped."""

    records: list[Record | Large]
    letters: list[Headers]
    skipped: str
    asked: bytes = b""  # of its user properties those that fill fields, as JSON: they are in the event ids


class Message(Protocol):
    """What came."""

    @property
    def content_type(self) -> str | None:
        """Of the payload; None: nobody said."""


class Becoming:
    """Decodes payloads, and logs what could not become a reading. A copy of a message has the same ids."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._log = letters.Log()

    def read(
        self,
        topic: Topic,
        lanes: Iterable[Lane],
        message: Message,
        payload: bytes,
        now: int,
        begin: bytes,
        properties: Iterable[tuple[str, str]] = (),
        births: Births | None = None,
    ) -> Became:
        """What the payload of a message that came by `topic` becomes in those of its lanes.

        `now`: microseconds since 1970 UTC. `begin`: of the records' header, up to the event id: when and how it came.
        `properties`: the message's user properties; of those that the topic's lanes ask for, dead letters have a
        header, and of its content type: they are read once more with both.
        `births`: as `Source` has it.
        """
        asked = wire.properties(topic.asks, properties) if topic.asks else {}
        said = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS) if asked else b""
        known = [(wire.MQTT_PROPERTIES, said)] if asked else []
        records: list[Record | Large] = []
        dead: list[Headers] = []
        skipped = ""
        for lane in lanes:
            found = lane.read(payload, now, asked, births)
            ids = wire.event_ids(topic.name, payload, len(found), said)
            raw, counter, last, key = lane.topic, lane.counter, "", b""
            name = topic.name
            for index, one in enumerate(found):
                if isinstance(one, Reading):
                    if one.device is not last:
                        last, key = one.device, one.device.encode()
                    event_id = ids[index] if one.identified else wire.unique_event_id()
                    records.append(Record(raw, key, one.value, [(_PROVENANCE, begin + event_id + name)], counter))
                elif isinstance(one, Refused):
                    self._log.add(one.error, lane.stream, topic.text)
                    source = MqttSource(topic.text, index, ids[0])
                    device = lane.source.captures.get(DEVICE) or one.error.device
                    came = wire.unpack(begin + ids[index] + name).texts()
                    headers = [*came, *known, *_content_type(message)]
                    letter = letters.make(one, lane.stream, source, headers, device)
                    records.append(self._letter_record(letter, lane.stream, one))
                    dead.append(letter.headers)
                else:
                    skipped = one.why
                    BRIDGE_SKIPPED.labels(skipped).inc()
            if lane.decoder.ignored:
                BRIDGE_IGNORED_FIELDS.labels(lane.stream).inc(lane.decoder.ignored)
                lane.decoder.ignored = 0
        return Became(records, dead, skipped, said)

    def _letter_record(self, letter: Letter, stream: str, refused: Refused) -> Record | Large:
        count = DEAD_LETTERS.labels(Stage.BRIDGE, stream, refused.error.reason.value)
        if not deadletters.fits(self._config, letter):
            return Large(letter, count)
        return Record(self._config.dead_letters.topic, *letter, count)


def _content_type(message: Message) -> Headers:
    said = message.content_type
    if said and len(said) > mediatypes.LONGEST:  # without any the letter would be read again as another format
        said = mediatypes.essence(said)[: mediatypes.LONGEST] or said[: mediatypes.LONGEST]
    return [(wire.MQTT_CONTENT_TYPE, said.encode())] if said else []
