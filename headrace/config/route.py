"""The section of a route: which MQTT topics feed a stream, and how their payloads are read."""

from collections.abc import Collection
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, field_validator, model_validator

from headrace.config.base import Section
from headrace.config.device import Device
from headrace.config.fields import FieldSource, as_source
from headrace.config.formats import NEEDED, SETTINGS, Avro, Columns, Compression, Csv, Protobuf, Senml, Sparkplug
from headrace.config.packed import Packed
from headrace.config.sync import Sync
from headrace.errors import ConfigError
from headrace.protocol import joins, mediatypes, paths
from headrace.protocol.joins import Join
from headrace.protocol.names import DEVICE, TIME

# How payloads are written; bridge/decoders/formats.py has a decoder for each.
Format = Literal[
    "json", "value", "columns", "packed", "csv", "senml", "cbor", "msgpack", "avro", "protobuf", "sparkplug"
]
Unknown = Literal["refuse", "ignore", "keep"]
# Formats that say the time themselves: by what.
_TIMED: dict[Format, str] = {
    "columns": "columns.start says where the time is. Set that",
    "packed": "packed.time says where the time is. Set that",
    "senml": "the records of SenML say their time, in t and bt. Set senml.unit, if it is not in seconds",
    "sparkplug": "the metrics of Sparkplug say their time. Correct it at the device, if it is wrong",
}
# Formats that have numbers as text by themselves.
_TEXT: dict[Format, str] = {
    "csv": "cells are text. Set csv.decimal_comma for a comma",
    "senml": "SenML takes numbers in text by itself",
    "value": "a plain value is text",
}


class Route(Section):
    """An MQTT filter whose messages go to the stream: `sensors/{device_id}/imu`. Names in braces are captures."""

    filter: str
    format: Format = Field(
        "json", description="how payloads are written; value: one plain value a topic, such as 21.5 or true"
    )
    content_types: dict[str, Format] = Field(
        default_factory=dict,
        description="formats by a message's MQTT 5 content type: {application/cbor: cbor}. `format` is for messages "
        "without one, or with its usual ones. Others become dead letters",
    )
    compression: Compression = Field("none", description="of payloads; auto: gzip, zstd or none, by the first bytes")
    field: str = Field(
        "", description="format value: the field that the value is for; empty where {field} in the filter names it"
    )
    columns: Columns | None = Field(None, description="format columns: by which keys a message tells its times")
    packed: Packed | None = Field(None, description="format packed: the fields of a binary message, one after another")
    csv: Csv | None = Field(None, description="format csv: columns and delimiter")
    senml: Senml | None = Field(None, description="format senml: how records become fields")
    avro: Avro | None = Field(None, description="format avro: the files with the schemas")
    protobuf: Protobuf | None = Field(None, description="format protobuf: the message, and where it is described")
    sparkplug: Sparkplug | None = Field(None, description="format sparkplug: which metric fills which field")
    unknown_fields: Unknown = Field(
        "refuse",
        description="what the contract lacks, at any depth: refuse: the message is a dead letter; ignore: it is "
        "dropped; keep: it becomes JSON text in the contract's field _extra",
    )
    fields: dict[str, Annotated[FieldSource, BeforeValidator(as_source)]] = Field(
        default_factory=dict, description="where fields are that are not called so in the payload; a text is a path"
    )
    explode: str = Field(
        "", description="path of a list in a JSON payload: a reading for each element, with what is around the list"
    )
    sync: Sync | None = Field(
        None, description="times count from the device's start: the messages that say when that was"
    )
    time_zone: str = Field("", description="of times that name none, such as Europe/Berlin; empty: UTC")
    text_numbers: Literal["", ".", ","] = Field(
        "", description="the decimal mark of numbers that payloads have as text, such as '21.5'; empty: text is none"
    )
    receipt: str = Field(
        "", description="topic for a receipt of each message that is in Kafka, such as receipts/{device_id}"
    )
    device: Device = Field(Device(), description="how the names of devices become ids")
    retained: Literal["drop", "keep"] = Field(
        "drop",
        description="copies that the broker had kept, which it sends when the bridge subscribes anew: drop: they are "
        "counted; keep: they are readings. What comes live is a reading, whatever its retain flag",
    )
    identity: str = Field(
        DEVICE,
        description="the capture that says who publishes: a user of the broker writes only under its own name",
    )

    @model_validator(mode="after")
    def _check_format(self) -> Self:
        for name in SETTINGS:
            if name not in self.formats and getattr(self, name) is not None:
                raise ValueError(f"{name}: settings of another format. Write `format: {name}`, or remove them")
        for name in self.formats:
            if name in NEEDED and getattr(self, name) is None:
                raise ValueError(f"format {name} needs settings, in a section {name}")
        if self.explode and self.formats != ("json",):
            raise ValueError("explode is for payloads of format json. Leave it out")
        if self.content_types and (alone := {"value", "sparkplug"}.intersection(self.formats)):
            raise ValueError(f"content_types: {min(alone)} has no other formats beside it. Leave content_types out")
        if self.format == "value" and (self.fields or self.device.path):
            raise ValueError(
                "a plain value has no fields: leave `fields` and device.path out, or choose another format"
            )
        if self.text_numbers and self.format in _TEXT:
            raise ValueError(f"text_numbers: {_TEXT[self.format]}, and leave this out")
        if DEVICE in self.fields:
            remedy = 'Write device: {topic: "{device_id}"}, or device: {path: ...} for one in the payload'
            raise ValueError(f"fields.{DEVICE}: the device's name stands in `device`. {remedy}")
        if self.device.path and self.device.topic:
            raise ValueError("say once where the device's name is: by device.path or by device.topic")
        if TIME in self.fields and (said := self._says_time()):
            raise ValueError(f"fields.{TIME}: {said}, and leave this out")
        return self

    @model_validator(mode="after")
    def _check_compression(self) -> Self:
        if self.format == "sparkplug" and self.compression != "none":
            raise ValueError("compression: a payload of Sparkplug B is not compressed as a whole. Leave it out")
        return self

    @model_validator(mode="after")
    def _check_sync(self) -> Self:
        if self.sync is None:
            return self
        other = next((name for name in self.formats if name in {"value", "senml", "sparkplug"}), "")
        if other:
            raise ValueError(f"sync: the times of {other} can't count from the device's start. Leave it out")
        if "packed" in self.formats and (self.packed is None or not self.packed.time):
            raise ValueError("sync: packed.time says where the time since the start is. Set it")
        source = self.fields.get(TIME)
        if source is not None and source.format:
            raise ValueError(f"fields.{TIME}.format: a time since the start is a number, not text. Leave it out")
        return self

    def _says_time(self) -> str:
        """What makes the time of a format's readings, and what to set; empty where the payloads' fields do."""
        untimed = {"packed"} if self.packed is None or not self.packed.time else set[Format]()
        return next((_TIMED[name] for name in self.formats if name in _TIMED and name not in untimed), "")

    @property
    def formats(self) -> tuple[Format, ...]:
        """Each format that payloads may have; first that of messages without a content type."""
        return tuple(dict.fromkeys([self.format, *self.content_types.values()]))

    @property
    def sources(self) -> dict[str, FieldSource]:
        """Where fields are; the device's name too, where `device.topic` says it."""
        topic = self.device.topic
        return {**self.fields, **({DEVICE: FieldSource(topic=topic)} if topic else {})}

    @property
    def learns(self) -> bool:
        """Whether what births say of metrics is remembered, where the filter is one of Sparkplug's namespace."""
        return self.format == "sparkplug" and (self.sparkplug is None or self.sparkplug.learn)

    @property
    def as_contract(self) -> bool:
        """Whether payloads are JSON, not compressed, with the contract's fields at the keys with their names."""
        plain = self.format == "json" and self.compression in {"none", "auto"}
        return plain and not (self.fields or self.device.path or self.explode or self.sync)

    @field_validator("content_types")
    @classmethod
    def _check_types(cls, types: dict[str, Format]) -> dict[str, Format]:
        for name in types:
            if not mediatypes.essence(name) or ";" in name or len(name) > mediatypes.LONGEST:
                raise ValueError(f"{name!r:.80}: a type such as application/cbor is expected, without parameters")
        return {mediatypes.essence(name): form for name, form in types.items()}

    @field_validator("explode")
    @classmethod
    def _check_explode(cls, path: str) -> str:
        try:
            steps = paths.parse(path, "explode") if path else ()
        except ConfigError as e:
            raise ValueError(str(e).removeprefix("explode: ")) from None
        if any(isinstance(step, int) for step in steps):
            raise ValueError(f"{path}: the whole list is exploded. Leave out the number of the element")
        return path

    @field_validator("time_zone")
    @classmethod
    def _check_zone(cls, name: str) -> str:
        try:
            if name:
                ZoneInfo(name)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            raise ValueError(f"{name!r:.80} is not a time zone such as Europe/Berlin") from None
        return name

    def joins(self, captures: Collection[str], where: str) -> dict[str, Join]:
        """The joins of the filter's `captures`, by field. ConfigError, beginning with `where`: a wrong template."""
        return {
            name: joins.parse(it.topic, captures, f"{where}.{'device' if name == DEVICE else f'fields.{name}'}.topic")
            for name, it in self.sources.items()
            if it.topic
        }


def as_route(value: object) -> object:
    """A route as the model takes it, of one that is written as its filter alone."""
    return {"filter": value} if isinstance(value, str) else value
