"""The section of a route that says how the names of its devices become ids."""

from collections.abc import Iterator

from pydantic import Field, field_validator

from headrace.config.base import Section
from headrace.config.fields import FieldSource
from headrace.protocol.devicenames import Rule
from headrace.protocol.names import ALPHABET, DEVICE, is_device_id


class Device(Section):
    """How what a device is called becomes its id. Two names never become one id."""

    names: Rule | dict[str, str] = Field(
        "id",
        description="id: the name is the id; mac: a MAC address or EUI, without its separators and in small letters; "
        "encode: any text, escaped; or a table of ids by name",
    )
    path: str | tuple[str, ...] = Field(
        "",
        description="of the name in the payload, such as deviceInfo.devEui; several, such as [model, id], are the name "
        "together, with slashes between them; empty: device_id",
    )
    topic: str = Field(
        "",
        description="captures that are the name together, such as {floor}/{room}; empty: {device_id}, or the payload's",
    )

    @property
    def paths(self) -> tuple[str, ...]:
        """Those of the name's parts in the payload; none: in the topic, in the payload's key device_id, or in both."""
        return self.path if isinstance(self.path, tuple) else (self.path,) if self.path else ()

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str | tuple[str, ...]) -> str | tuple[str, ...]:
        parts = path if isinstance(path, tuple) else (path,) if path else ()
        if isinstance(path, tuple) and not (path and all(path) and len(set(path)) == len(path)):
            raise ValueError("give the paths of the name's parts, each once, such as [model, id]")
        for part in parts:
            FieldSource(path=part)
        return path

    @field_validator("names")
    @classmethod
    def _check_table(cls, names: Rule | dict[str, str]) -> Rule | dict[str, str]:
        owners: dict[str, str] = {}
        for name, found in names.items() if isinstance(names, dict) else ():
            if not is_device_id(found):
                raise ValueError(f"{name!r}: {found!r} is no id. Use {ALPHABET}")
            other = owners.setdefault(found, name)
            if other != name:
                raise ValueError(f"{other!r} and {name!r} have the same id {found!r}. Give each its own")
        return names


def problems(device: Device, identity: str, where: str, *, joined: bool) -> Iterator[str]:
    """Names that would let a device publish as another, in a route whose publisher is `identity`.

    `joined`: whether the name is joined of captures. The broker lets a device publish under its own name, which is an
    id. So that name must stay what it is.
    """
    if identity != DEVICE:
        return
    why = "the route is for devices that publish by themselves, each under its own id"
    how = "Where a gateway publishes for its devices, set identity to the capture that names the gateway"
    if joined:
        yield f"{where}: the name is joined of captures, but {why}, which {{{DEVICE}}} has. Leave the join out. {how}"
    for name, found in device.names.items() if isinstance(device.names, dict) else ():
        if is_device_id(name) and found != name:
            yield f"{where}.device.names: {name} would publish as {found}: {why}. Leave {name} out. {how}"
