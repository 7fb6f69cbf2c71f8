"""Settings of payload formats: a section of a route, with the format's own name, such as `packed`."""

from typing import Literal

from pydantic import Field

from headrace.config.base import Section, Unit

SETTINGS = ("columns", "packed")  # sections of a route, each for the format of its name
NEEDED = frozenset({"packed"})  # formats that can't be read without

Compression = Literal["none", "gzip", "zstd", "deflate", "auto"]


class Columns(Section):
    """An object of lists: by which keys a message tells the time of its samples."""

    start: str = Field("t0", description="key of the first sample's time, since 1970 or in ISO 8601; or of a list")
    step: str = Field("dt", description="key of the time from one sample to the next")
    rate: str = Field("rate", description="key of the samples a second, for messages without a step")
    unit: Unit = Field("s", description="of a start that is a number")
    step_unit: Unit | None = Field(None, description="of the step; that of the start when left out")
