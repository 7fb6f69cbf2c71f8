"""The section of a route whose times count from the device's start: which messages say when that was."""

from pydantic import Field, field_validator

from headrace.config.base import Section, Unit
from headrace.errors import ConfigError
from headrace.protocol import paths


class Sync(Section):
    """Sync messages: JSON with the time since the device's start, the same moment in UTC, and which start it was."""

    filter: str = Field(description="their MQTT filter, such as sync/{device_id}")
    uptime: str = Field("uptime", description="path of the time since the start, in a sync message")
    unit: Unit = Field("s", description="of that time")
    time: str = Field("time", description="path of the same moment in UTC: ISO 8601 text, or a number since 1970")
    time_unit: Unit = Field("s", description="of that number")
    boot: str = Field("boot", description="path of the boot id: a reading has the same in its field with that role")

    @field_validator("uptime", "time", "boot")
    @classmethod
    def _check_path(cls, path: str) -> str:
        try:
            paths.parse(path, "path")
        except ConfigError as e:
            raise ValueError(str(e).removeprefix("path: ")) from None
        return path
