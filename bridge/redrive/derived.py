"""A reading of which no row of a derived stream could be made, by the stream's present function and contract."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import fastavro

from bridge.redrive.resolve import parsed
from headrace.config import Config
from headrace.contracts.avro import Node, decimal_of
from headrace.contracts.model import Contract, parse
from headrace.errors import ConfigError, PoisonError, Reason
from headrace.protocol.names import QUALITY
from headrace.protocol.wire import FRAME_BYTES, NOT_AVRO, frame, schema_id
from headrace.transforms.code import read
from headrace.transforms.derive import derive
from headrace.transforms.run import Transform
from headrace.transforms.table import fields_of


class Derived:
    """Makes rows of readings, as the service derive does. `ids`: the present schema ids by stream."""

    def __init__(
        self, config: Config, contracts: Mapping[str, Contract], ids: Mapping[str, int], text: Callable[[int], str]
    ) -> None:
        self._config, self._contracts, self._ids, self._text = config, contracts, ids, text
        self._transforms: dict[str, Transform] = {}
        self._sources: dict[int, tuple[Contract, Any]] = {}  # by schema id: with its schema for fastavro
        self._schemas = {stream: parsed(contract) for stream, contract in contracts.items()}

    def source(self, stream: str) -> str:
        """The stream that it is made of; empty for none."""
        return self._config.streams[stream].source

    def rows(self, stream: str, value: bytes) -> list[tuple[str, bytes]]:
        """(device id, framed row) of each row of `stream` that is made of a framed reading of its source.

        PoisonError where none can be made. ConfigError: the stream's function can't be loaded. TransientError: the
        registry is away.
        """
        source, schema = self._source(schema_id(value))
        contract, fields = self._contracts[stream], fields_of(source)
        reading = _read(schema, value)
        columns = {f.name: [_stored(f.type, reading[f.name])] for f in fields}
        found = derive(self._transform(stream), fields, fields_of(contract), columns)
        for failure in found.failures.values():
            words = f"the transform failed: {failure.message}"
            raise PoisonError(
                Reason.TRANSFORM, words, field=failure.field, value=failure.value, rule="transform"
            ) from None
        return [(str(row["device_id"]), self._written(stream, row)) for row in found.rows.get(0, ())]

    def _source(self, number: int) -> tuple[Contract, Any]:
        if number not in self._sources:
            try:
                contract = parse(f"schema-{number}", self._text(number), f"schema {number}")
            except ConfigError as e:
                raise PoisonError(Reason.UNKNOWN_SCHEMA, f"schema {number} is not a contract: {e}") from None
            self._sources[number] = contract, parsed(contract)
        return self._sources[number]

    def _transform(self, stream: str) -> Transform:
        if stream not in self._transforms:
            named = self._config.streams[stream].transform
            if named is None:
                raise ConfigError(f"streams.{stream}.transform: none is given. Name the file that makes its rows")
            self._transforms[stream] = Transform(read(named))
        return self._transforms[stream]

    def _written(self, stream: str, row: Mapping[str, Any]) -> bytes:
        out = io.BytesIO()
        try:
            fastavro.schemaless_writer(out, self._schemas[stream], {**row, QUALITY: None}, strict=True)
        except (ValueError, TypeError, OverflowError) as e:
            raise PoisonError(Reason.TRANSFORM, f"a row can't be written: {e}") from None
        return frame(self._ids[stream], out.getvalue())


def _read(schema: Any, value: bytes) -> dict[str, Any]:
    """The reading with its values as stored: a time may be one that Python's calendar does not have."""
    body = io.BytesIO(value[FRAME_BYTES:])
    try:
        reading: Any = fastavro.schemaless_reader(body, schema, None)
    except Exception:  # noqa: BLE001 - fastavro raises whatever the bytes lead it to
        raise PoisonError(Reason.MALFORMED, NOT_AVRO) from None
    if body.read(1):
        raise PoisonError(Reason.MALFORMED, "bytes follow the reading")
    return dict(reading)


def _stored(node: Node, value: Any) -> Any:
    """A value as derive has it: a decimal is a number, not its bytes."""
    if isinstance(value, list) and node.items is not None:
        return [_stored(node.items, v) for v in value]
    if isinstance(value, dict):
        return {m.name: _stored(m.type, value[m.name]) for m in node.members}
    if node.logical == "decimal" and value is not None:
        return decimal_of(node, value)
    return value
