"""A reading of which no row of a derived stream could be made, by the stream's present function and contract."""

import io
from collections.abc import Callable, Mapping
from typing import Any

import fastavro

from bridge.redrive.resolve import parsed
from headrace.config import Config
from headrace.contracts.model import Contract, parse
from headrace.errors import ConfigError, PoisonError, Reason
from headrace.operate.live import decode
from headrace.operate.rows import columns_of
from headrace.protocol.names import QUALITY
from headrace.protocol.wire import frame, schema_id
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
        self._schemas: dict[int, Any] = {}

    def source(self, stream: str) -> str:
        """The stream that it is made of; empty for none."""
        return self._config.streams[stream].source

    def rows(self, stream: str, value: bytes) -> list[tuple[str, bytes]]:
        """(device id, framed row) of each row of `stream` that is made of a framed reading of its source.

        PoisonError where none can be made. ConfigError: the stream's function can't be loaded. TransientError: the
        registry is away.
        """
        number = schema_id(value)
        try:
            source = parse(f"schema-{number}", self._text(number), f"schema {number}")
        except ConfigError as e:
            raise PoisonError(Reason.UNKNOWN_SCHEMA, f"schema {number} is not a contract: {e}") from None
        reading = decode(value, self._text, self._schemas)
        try:
            columns = columns_of(source, [reading], "the reading lacks a value that its contract needs")
        except ConfigError as e:
            raise PoisonError(Reason.MALFORMED, str(e)) from None
        contract = self._contracts[stream]
        found = derive(self._transform(stream), fields_of(source), fields_of(contract), columns)
        for failure in found.failures.values():
            words = f"the transform failed: {failure.message}"
            raise PoisonError(
                Reason.TRANSFORM, words, field=failure.field, value=failure.value, rule="transform"
            ) from None
        return [(str(row["device_id"]), self._written(stream, contract, row)) for row in found.rows.get(0, ())]

    def _transform(self, stream: str) -> Transform:
        if stream not in self._transforms:
            named = self._config.streams[stream].transform
            if named is None:
                raise ConfigError(f"streams.{stream}.transform: none is given. Name the file that makes its rows")
            self._transforms[stream] = Transform(read(named))
        return self._transforms[stream]

    def _written(self, stream: str, contract: Contract, row: Mapping[str, Any]) -> bytes:
        out = io.BytesIO()
        try:
            fastavro.schemaless_writer(out, parsed(contract), {**row, QUALITY: None}, strict=True)
        except (ValueError, TypeError, OverflowError) as e:
            raise PoisonError(Reason.TRANSFORM, f"a row can't be written: {e}") from None
        return frame(self._ids[stream], out.getvalue())
