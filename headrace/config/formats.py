"""Settings of payload formats: a section of a route, with the format's own name, such as `packed`."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from headrace.config.base import Section, Unit
from headrace.contracts.avro import Node, read_record
from headrace.errors import ConfigError

# Sections of a route, each for the format of its name.
SETTINGS = ("columns", "packed", "csv", "senml", "avro", "protobuf", "sparkplug")
NEEDED = frozenset({"packed", "avro", "protobuf"})  # formats that can't be read without

Compression = Literal["none", "gzip", "zstd", "deflate", "auto"]


class Columns(Section):
    """An object of lists: by which keys a message tells the time of its samples."""

    start: str = Field("t0", description="key of the first sample's time, since 1970 or in ISO 8601; or of a list")
    step: str = Field("dt", description="key of the time from one sample to the next")
    rate: str = Field("rate", description="key of the samples a second, for messages without a step")
    unit: Unit = Field("s", description="of a start that is a number")
    step_unit: Unit | None = Field(None, description="of the step; that of the start when left out")


class Csv(Section):
    """Lines of values: which column is which, and how numbers are written."""

    columns: tuple[Annotated[str, Field(max_length=200)], ...] = Field(
        (),
        description="names of the columns, '' for one that is left out; when empty, each message's first line has them",
    )
    delimiter: Annotated[str, Field(pattern=r"^[,;\t| ]$")] = Field(
        ",", description="between cells: , ; | tab or space"
    )
    decimal_comma: bool = Field(False, description="numbers are written as 21,5")


class Senml(Section):
    """Records of SenML: how they become the fields of a reading."""

    name: str = Field("", description="field for the base name of the records; without, it is left out")
    value: str = Field("value", description="field for the value of a record that has the base name alone")
    unit: Unit = Field("s", description="of times; RFC 8428 says s")
    units: dict[str, str] = Field(
        default_factory=dict, description="units that records must have, by their names; others are not looked at"
    )


class Avro(Section):
    """Avro datums: the files with their schemas."""

    file: Path | None = Field(None, description="with the schema (.avsc) of datums without anything before them")
    ids: dict[Annotated[int, Field(ge=1, le=2**31 - 1)], Path] = Field(
        default_factory=dict, description="files with schemas by the ids in Confluent's five bytes before each datum"
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.file is None) == (not self.ids):
            raise ValueError("give file, for datums without anything before them, or ids, for Confluent's framing")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (*([self.file] if self.file is not None else []), *self.ids.values())

    @staticmethod
    def read(file: Path) -> tuple[dict[str, Any], Node]:
        """The schema in a file, as it is and as a tree. ConfigError: there is none, or it is not a record's."""
        try:
            schema = json.loads(file.read_text(encoding="utf-8"))
        except OSError as e:
            raise ConfigError(f"{file}: {e.strerror}") from None
        except (ValueError, RecursionError):
            raise ConfigError(f"{file}: not JSON. An Avro schema is expected") from None
        if not isinstance(schema, dict):
            raise ConfigError(f"{file}: an Avro schema of a record is expected")
        try:
            return schema, read_record(schema)
        except ConfigError as e:
            raise ConfigError(f"{file}: {e}") from None


class Protobuf(Section):
    """Protocol Buffers: which message, and where it is described."""

    descriptor: Path = Field(description="file of protoc --include_imports --descriptor_set_out=FILE")
    message: str = Field(description="the message's name, with its package", pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")


SparkplugType = Literal[
    "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float", "Double", "Boolean", "String",
    "DateTime", "Text", "UUID", "Bytes", "File", "Int8Array", "Int16Array", "Int32Array", "Int64Array", "UInt8Array",
    "UInt16Array", "UInt32Array", "UInt64Array", "FloatArray", "DoubleArray", "BooleanArray", "StringArray",
    "DateTimeArray",
]  # fmt: skip
# Their numbers in payloads: Sparkplug 3.0, 6.4.16.
SPARKPLUG_TYPES: dict[SparkplugType, int] = dict(
    zip(get_args(SparkplugType), [*range(1, 16), 17, 18, *range(22, 35)], strict=True)
)


class Metric(Section):
    """A metric of Sparkplug: the field that it fills, and its type where data messages do not say it."""

    field: str
    type: SparkplugType | None = None


def _as_metric(value: object) -> object:
    return {"field": value} if isinstance(value, str) else value


class Sparkplug(Section):
    """Payloads of Sparkplug B: which metric fills which field."""

    metrics: dict[str, Annotated[Metric, BeforeValidator(_as_metric)]] = Field(
        default_factory=dict,
        description="fields by the metric's name, or by its alias in birth messages; others have their own name",
    )
    learn: bool = Field(
        True,
        description="learn names and types from births, count gaps and ask for rebirths; false: what a message means "
        "is said by itself and by the route alone",
    )

    @field_validator("metrics", mode="before")
    @classmethod
    def _as_text(cls, metrics: Any) -> Any:
        return {str(k): v for k, v in metrics.items()} if isinstance(metrics, dict) else metrics
