"""The section of a route that says where a field's value is, where that is not a key with the field's own name."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Self

from pydantic import Field, field_validator, model_validator

from headrace.config.base import Section, Unit
from headrace.contracts import allowed, conversion
from headrace.contracts.model import Contract
from headrace.errors import ConfigError
from headrace.protocol import paths
from headrace.protocol.names import OURS, TIME

_VARIES = frozenset("ZcxXpaAbB")  # directives that mean what TZ or the locale of the process says


class FieldSource(Section):
    """Where a field's value is: one of path, value, property and topic. A text alone is a path."""

    path: str = Field("", description="in the payload, such as params.ts or gateways[0].rssi")
    value: str | bool | int | float | None = Field(None, description="the same for every reading")
    property: str = Field("", description="an MQTT 5 user property of the message, of up to 1,024 characters")
    topic: str = Field("", description="captures of the topic, joined: {floor}/{room}")
    unit: str = Field(
        "", description="of the payload's numbers: they are converted to the contract's; of a time, s, ms, us or ns"
    )
    format: str = Field("", description="of a time that is text, as strptime has it: %d/%m/%Y %H:%M")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.path != "") + (self.value is not None) + (self.property != "") + (self.topic != "") != 1:
            raise ValueError("say one of path, value, property and topic")
        if not self.path and (self.unit or self.format):
            raise ValueError("unit and format are of a value in the payload: give its path")
        if self.unit and self.format:
            raise ValueError("a time is a number with a unit, or text with a format: leave out one")
        return self

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        if path:
            try:
                paths.parse(path, "path")
            except ConfigError as e:
                raise ValueError(str(e).removeprefix("path: ")) from None
        return path

    @field_validator("format")
    @classmethod
    def _check_format(cls, form: str) -> str:
        if form:
            try:
                datetime.strptime(datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC).strftime(form), form)  # noqa: DTZ007
            except (ValueError, re.error) as e:
                raise ValueError(f"{form!r} is not a format of strptime, such as %d/%m/%Y %H:%M: {e}") from None
            if "%" not in form:
                raise ValueError(f"{form!r} is not a format of strptime, such as %d/%m/%Y %H:%M")
            varying = next((d for d in re.findall("%(.)", form) if d in _VARIES), "")
            if varying:
                raise ValueError(
                    f"{form!r}: what %{varying} means depends on where the bridge runs. Have the device send digits, "
                    "and for the zone %z, or set the route's time_zone"
                )
        return form


def as_source(value: object) -> object:
    """A source as the model takes it, of one that is written as its path alone."""
    return {"path": value} if isinstance(value, str) else value


def problems(contract: Contract, sources: dict[str, FieldSource], where: str) -> Iterator[str]:
    """In words, what of a route's `fields` does not fit the contract."""
    for name, source in sources.items():
        place = f"{where}.fields.{name}"
        if name not in contract or name in OURS:
            names = ", ".join(f.name for f in contract.fields if f.name not in OURS)
            yield f"{place}: the contract {contract.name} has no such field. It has {names[:200]}"
            continue
        field = contract.field(name)
        is_time = (field.logical or "").startswith("timestamp-")
        if source.format and not is_time:
            yield f"{place}.format: {name} is not a time. Leave the format out"
        if source.unit and is_time and source.unit not in Unit.__args__:  # type: ignore[attr-defined]
            yield f"{place}.unit: a time is in s, ms, us or ns since 1970, not in {source.unit}"
        elif source.unit and not is_time:
            for problem in conversion.problems(field, source.unit):
                yield f"{place}.unit: {problem}"
        if source.property and (name == TIME or field.kind not in {"string", "enum"}):
            yield f"{place}.property: a user property is text, and {name} is no field for it. Give another source"
        if source.value is not None:
            if name == TIME:
                yield f"{place}.value: {name} differs from reading to reading. Give its path"
            elif is_time or not (field.json or allowed.fits(source.value, replace(field.type, nullable=False))):
                yield f"{place}.value: {source.value!r} is no {field.logical or field.kind}. Give one"
