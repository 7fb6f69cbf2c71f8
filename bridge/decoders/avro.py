"""Avro datums (Avro 1.12, binary encoding) to an object each: bare, or behind the five bytes of Confluent's framing."""

import io
from functools import partial
from typing import Any

import fastavro

from bridge.decoders.parsed import Parser
from bridge.decoders.plain import objects
from headrace.config.formats import Avro
from headrace.contracts import datum
from headrace.contracts.avro import Node
from headrace.errors import PoisonError, Reason
from headrace.protocol import wire


class _Schema:
    """One schema, ready to read with."""

    def __init__(self, schema: dict[str, Any], node: Node) -> None:
        self._node = node
        self._schema = fastavro.parse_schema(schema)

    def read(self, payload: bytes) -> list[dict[str, Any]]:
        datum.check(payload, self._node)
        try:
            found = fastavro.schemaless_reader(io.BytesIO(payload), self._schema, None)
        except Exception as e:  # noqa: BLE001 - whatever the reader raises, the bytes are wrong
            raise PoisonError(Reason.MALFORMED, f"not Avro of the schema: {e}") from None
        return objects(found, "Avro")


def parser(settings: Avro) -> Parser:
    """The parser of datums of these schemas. ConfigError where a file is missing, or has no schema of a record."""
    if settings.file is not None:
        return Parser(_Schema(*settings.read(settings.file)).read)
    return Parser(partial(_framed, schemas={number: _Schema(*settings.read(f)) for number, f in settings.ids.items()}))


def _framed(payload: bytes, schemas: dict[int, _Schema]) -> list[dict[str, Any]]:
    if len(payload) < wire.FRAME_BYTES or payload[0] != 0:
        words = (
            "Confluent's five bytes are missing, in front of the datum. A route with `avro: {file: ...}` takes it bare"
        )
        raise PoisonError(Reason.MALFORMED, words)
    number = int.from_bytes(payload[1 : wire.FRAME_BYTES])
    schema = schemas.get(number)
    if schema is None:
        words = f"the route names no schema for the id {number}. Add it to `avro.ids`"
        raise PoisonError(Reason.UNKNOWN_SCHEMA, words, value=str(number))
    return schema.read(payload[wire.FRAME_BYTES :])
